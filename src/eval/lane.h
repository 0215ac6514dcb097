// A lane: one network of several that read the same windows side by side. Lane 0 is what the others
// are compared with. All lanes have the same config.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "model/model.h"

namespace qround::eval {

struct Lane {
  std::string name;  // "source", "result", "noise", "without q_proj"
  std::shared_ptr<const Model> model;
  // Linear maps of these roles are taken from `donor` instead; null: none.
  std::shared_ptr<const Model> donor;
  std::set<Role> donated;
  std::string backend;  // operations to run with; empty: the job's
  bool drafts = true;   // the MTP head is asked too, if there is one

  // Weights of a text block; views into the lane's checkpoints.
  BlockWeights block(int64_t index) const;
  // The network whose output map the lane uses.
  const Model& head() const { return donated.contains(Role::lm_head) ? *donor : *model; }
};

}  // namespace qround::eval
