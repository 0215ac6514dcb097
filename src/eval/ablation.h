// What each class of tensors costs: the checkpoint with one class put back to the source's weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/figures.h"
#include "eval/lane.h"

namespace qround::eval {

// One lane per role that has int4 weights in the text blocks or as output map of `result`; named by
// the role.
std::vector<Lane> ablation_lanes(const std::shared_ptr<const Model>& result,
                                 const std::shared_ptr<const Model>& source);

struct Ablation {
  std::string role;
  int64_t added_bytes = 0;  // the checkpoint grows by so much with this class in the source's form
  Estimate divergence;      // KL(source ‖ checkpoint with the class put back)
  Estimate gain;            // by how much that is less; intervals of differences window by window

  double gain_per_megabyte() const;
};

// `lane` is one of ablation_lanes().
Ablation ablation_of(const Lane& lane, const LaneScores& scores, const LaneScores& result,
                     const std::vector<Window>& windows);

Json to_json(const Ablation& ablation);

}  // namespace qround::eval
