// Acceptance of the MTP head's drafts as a speculative engine sees it: drafts continue the
// network's own greedy text, each on top of the one before, and every step starts from true hidden
// states.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"
#include "eval/lane_scores.h"
#include "model/model.h"

namespace qround::eval {

// Steps that draft `depth` tokens each.
struct DraftingCounts {
  int64_t depth = 0;
  int64_t steps = 0;
  std::array<int64_t, kDraftDepths> accepted = {};  // steps whose first i + 1 drafts were right

  // Tokens a step yields: its accepted drafts and the one the network itself adds.
  double tokens_per_step() const;
};

struct DraftingOptions {
  int64_t prompts = 0;         // 0: nothing is drafted
  int64_t prompt_tokens = 64;  // the first of a window
  int64_t new_tokens = 64;     // greedy, after each prompt
};

// Continues every prompt greedily, once for all depths 1 to kDraftDepths. Verifying drafts in a
// batch gives the text of one-by-one decoding (a row's bits do not depend on its batch), so the
// text is made without speculation and drafts are compared with it. Needs model.has_mtp().
std::vector<DraftingCounts> draft_along(const Model& model,
                                        const std::vector<std::span<const int32_t>>& prompts,
                                        int64_t new_tokens, const Executor& executor,
                                        const std::atomic<bool>* stop);

Json to_json(const DraftingCounts& counts);

}  // namespace qround::eval
