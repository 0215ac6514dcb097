// The recurrence of Gated DeltaNet and its gates (arXiv 2412.06464).
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

struct DeltaRuleGateArgs {
  const float* a = nullptr;        // [T, Hv]
  const float* b = nullptr;        // [T, Hv]
  const float* a_log = nullptr;    // [Hv]
  const float* dt_bias = nullptr;  // [Hv]
  float* log_decay = nullptr;      // [T, Hv]: -exp(a_log) * softplus(a + dt_bias), never positive
  float* beta = nullptr;           // [T, Hv]: sigmoid(b)
  int64_t tokens = 0, value_heads = 0;
};

// softplus is linear above 20, as the reference has it.
using DeltaRuleGatesFunction = void(const DeltaRuleGateArgs& args, const OpContext& context);

struct GatedDeltaRuleArgs {
  const float* q = nullptr;          // [T, Hk, Dk], normalized and scaled
  const float* k = nullptr;          // [T, Hk, Dk], normalized
  const float* v = nullptr;          // [T, Hv, Dv]
  const float* log_decay = nullptr;  // [T, Hv]
  const float* beta = nullptr;       // [T, Hv]
  float* state = nullptr;            // [Hv, Dk, Dv], read and updated
  float* out = nullptr;              // [T, Hv, Dv]
  int64_t tokens = 0;
  int64_t key_heads = 0, value_heads = 0, key_dim = 0,
          value_dim = 0;                             // value head h uses key head h / (Hv / Hk)
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;  // floats from one token to the next
};

// Per value head and token: S <- exp(log_decay) S; d = beta (v - Sᵀk); S <- S + k dᵀ; out = Sᵀq.
// The fast version runs single tokens this way and longer runs in chunks of 64 (same sums in
// another order).
using GatedDeltaRuleFunction = void(const GatedDeltaRuleArgs& args, const OpContext& context);

namespace ref {
DeltaRuleGatesFunction delta_rule_gates;
GatedDeltaRuleFunction gated_delta_rule;
}  // namespace ref

namespace cpu {
DeltaRuleGatesFunction delta_rule_gates;
GatedDeltaRuleFunction gated_delta_rule;
}  // namespace cpu

}  // namespace qround::ops
