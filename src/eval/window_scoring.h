// From the final hidden states of one window, in every lane, to scores. Logits exist only for a
// tile of rows at a time.
#pragma once

#include <span>
#include <vector>

#include "eval/lane.h"
#include "eval/lane_runner.h"
#include "eval/lane_scores.h"
#include "eval/protocol.h"

namespace qround::eval {

// `hidden[lane]` is the window's [T, H] after the final norm. Appends to nll, divergence, top and
// drafts of each lane's scores. `runners` has one per lane.
void score_window(const std::vector<Lane>& lanes, const std::vector<LaneRunner>& runners,
                  const Window& window, std::span<const int32_t> ids,
                  const std::vector<const float*>& hidden, std::vector<LaneScores>& scores);

}  // namespace qround::eval
