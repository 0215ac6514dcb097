// The unit of work of the gated delta rule: one value head.
#pragma once

#include <cstdint>

#include "ops/gated_delta_rule.h"

namespace qround::ops::cpu {

// Value columns that run through all tokens together.
inline constexpr int64_t kDeltaRuleBlockColumns = 32;

struct DeltaRuleHead {
  const GatedDeltaRuleArgs* args = nullptr;
  const float* decay = nullptr;  // [T, Hv]: exp(log_decay)
  int64_t head = 0;
  int64_t key_offset = 0;  // of the head's key inside a token's keys
};

}  // namespace qround::ops::cpu
