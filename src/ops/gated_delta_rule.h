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

// What tokens do to the state, once it is known: S <- decay S + k changeᵀ for each in order.
struct DeltaRuleUpdates {
  const float* k = nullptr;       // [P, Hk, Dk], normalized
  const float* change = nullptr;  // [P, Hv, Dv]
  const float* decay = nullptr;   // [P, Hv]: exp(log_decay)
  int64_t tokens = 0;             // P
};

struct GatedDeltaRuleArgs {
  const float* q = nullptr;          // [T, Hk, Dk], normalized and scaled
  const float* k = nullptr;          // [T, Hk, Dk], normalized
  const float* v = nullptr;          // [T, Hv, Dv]
  const float* log_decay = nullptr;  // [T, Hv]
  const float* beta = nullptr;       // [T, Hv]
  float* state = nullptr;            // [Hv, Dk, Dv], read and updated
  float* out = nullptr;              // [T, Hv, Dv]
  // Of so many sequences, each with T tokens and a state: row t of sequence s is row s * T + t of
  // every operand. More than one have neither `before` nor tentative tokens.
  int64_t sequences = 1;
  int64_t tokens = 0;
  int64_t key_heads = 0, value_heads = 0, key_dim = 0,
          value_dim = 0;                             // value head h uses key head h / (Hv / Hk)
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;  // floats from one token to the next
  // Tokens that come before these and are part of the state from now on. With no tokens of its own
  // (T = 0) a call does just this.
  DeltaRuleUpdates before;
  // Tentative tokens: both or none. With them the T tokens leave the state as it was before them,
  // and these receive what each would do to it, for a later call's `before`.
  float* change = nullptr;  // [T, Hv, Dv]
  float* decay = nullptr;   // [T, Hv]
};

// One of the sequences, by itself.
constexpr GatedDeltaRuleArgs sequence_of(GatedDeltaRuleArgs args, int64_t sequence) {
  const int64_t first = sequence * args.tokens;
  args.sequences = 1;
  args.q += first * args.q_stride;
  args.k += first * args.k_stride;
  args.v += first * args.v_stride;
  args.log_decay += first * args.value_heads;
  args.beta += first * args.value_heads;
  args.state += sequence * args.value_heads * args.key_dim * args.value_dim;
  args.out += first * args.value_heads * args.value_dim;
  return args;
}

// Per value head and token: S <- exp(log_decay) S; d = beta (v - Sᵀk); S <- S + k dᵀ; out = Sᵀq.
// The fast version runs all tokens this way on blocks of columns of S that stay in the cache, so a
// sequence in pieces gives the bits of the whole, and so does one whose tokens were tentative
// first: the state is read and written once in a call whether tokens are tentative or not.
using GatedDeltaRuleFunction = void(const GatedDeltaRuleArgs& args, const OpContext& context);

struct DeltaRuleGatesBackwardArgs {
  const float* a = nullptr;            // [T, Hv]
  const float* b = nullptr;            // [T, Hv]
  const float* a_log = nullptr;        // [Hv]
  const float* dt_bias = nullptr;      // [Hv]
  const float* d_log_decay = nullptr;  // [T, Hv]
  const float* d_beta = nullptr;       // [T, Hv]
  float* da = nullptr;                 // [T, Hv], may be a or d_log_decay
  float* db = nullptr;                 // [T, Hv], may be b or d_beta
  float* d_a_log = nullptr;            // [Hv], added to; or null
  float* d_dt_bias = nullptr;          // [Hv], added to; or null
  int64_t tokens = 0, value_heads = 0;
};
using DeltaRuleGatesBackwardFunction = void(const DeltaRuleGatesBackwardArgs& args,
                                            const OpContext& context);

// Gradients inside each of `sequences` sequences of T tokens that start with a state of zeros and
// whose final state nobody reads. Row t of sequence s is row s * T + t of every operand.
struct GatedDeltaRuleBackwardArgs {
  const float* q = nullptr;          // [sequences, T, Hk, Dk], normalized and scaled
  const float* k = nullptr;          // [sequences, T, Hk, Dk], normalized
  const float* v = nullptr;          // [sequences, T, Hv, Dv]
  const float* log_decay = nullptr;  // [sequences, T, Hv]
  const float* beta = nullptr;       // [sequences, T, Hv]
  const float* d_out = nullptr;      // [sequences, T, Hv, Dv]
  float* dq = nullptr;               // [sequences, T, Hk, Dk], the sum over the value heads of each
  float* dk = nullptr;               // [sequences, T, Hk, Dk]
  float* dv = nullptr;               // [sequences, T, Hv, Dv]
  float* d_log_decay = nullptr;      // [sequences, T, Hv]
  float* d_beta = nullptr;           // [sequences, T, Hv]
  int64_t sequences = 1, tokens = 0;
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;     // floats from one token to the next
  int64_t dq_stride = 0, dk_stride = 0, dv_stride = 0;  // d_out has Hv * Dv
};

// The fast version goes through chunks of 64 tokens from the last to the first; it repeats the
// forward pass inside and needs no result of it.
using GatedDeltaRuleBackwardFunction = void(const GatedDeltaRuleBackwardArgs& args,
                                            const OpContext& context);

namespace ref {
DeltaRuleGatesFunction delta_rule_gates;
GatedDeltaRuleFunction gated_delta_rule;
DeltaRuleGatesBackwardFunction delta_rule_gates_backward;
GatedDeltaRuleBackwardFunction gated_delta_rule_backward;
}  // namespace ref

namespace cpu {
DeltaRuleGatesFunction delta_rule_gates;
GatedDeltaRuleFunction gated_delta_rule;
DeltaRuleGatesBackwardFunction delta_rule_gates_backward;
GatedDeltaRuleBackwardFunction gated_delta_rule_backward;
}  // namespace cpu

namespace cuda {
DeltaRuleGatesFunction delta_rule_gates;
DeltaRuleGatesBackwardFunction delta_rule_gates_backward;
// Keys of at most 256. Where the caller says that rows are many, plain tokens go in chunks of 64 with
// TF32 products, if keys have at most 128: a sequence in pieces then has other bits.
GatedDeltaRuleFunction gated_delta_rule;
GatedDeltaRuleBackwardFunction gated_delta_rule_backward;  // of at most 128; TF32 products
}  // namespace cuda

}  // namespace qround::ops
