// The delta rule for many tokens at once, as tuning and calibration have them.
#pragma once

#include "ops/gated_delta_rule.h"

namespace qround::ops::cuda {

// Whether these tokens can go through chunks: plain ones, keys of at most 128.
bool fits_chunks(const GatedDeltaRuleArgs& args);

// The rule in chunks of 64 tokens, with TF32 factors on tensor cores: near the recurrence, not its
// bits.
void gated_delta_rule_chunks(const GatedDeltaRuleArgs& args, const OpContext& context);

}  // namespace qround::ops::cuda
