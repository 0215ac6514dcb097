// Causal attention with grouped key/value heads.
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

struct CausalAttentionArgs {
  const float* q = nullptr;       // [T, Hq, D]
  const float* keys = nullptr;    // [S, Hkv, D], the T newest last
  const float* values = nullptr;  // [S, Hkv, D]
  float* out = nullptr;           // [T, Hq, D]
  int64_t tokens = 0;             // T
  int64_t context = 0;            // S >= T; query t sees keys 0 .. S - T + t
  int64_t heads = 0, kv_heads = 0,
          head_dim = 0;  // Hq, Hkv, D; query head h reads kv head h / (Hq / Hkv)
  float scale = 1;       // D^(-1/2)
};

// out = softmax(scale * q kᵀ, causal) v, softmax in f32. The fast version walks the keys in blocks
// with a running maximum and never holds a T x S matrix.
using CausalAttentionFunction = void(const CausalAttentionArgs& args, const OpContext& context);

// Gradients of attention inside each of `sequences` sequences of T tokens without earlier context.
struct CausalAttentionBackwardArgs {
  const float* q = nullptr;       // [sequences, T, Hq, D]
  const float* keys = nullptr;    // [sequences, T, Hkv, D]
  const float* values = nullptr;  // [sequences, T, Hkv, D]
  const float* d_out = nullptr;   // [sequences, T, Hq, D]
  float* dq = nullptr;            // [sequences, T, Hq, D]
  float* d_keys = nullptr;        // [sequences, T, Hkv, D], the sum over the query heads of each
  float* d_values = nullptr;      // [sequences, T, Hkv, D]
  int64_t sequences = 1, tokens = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;
};

// The fast version makes the probabilities of 64 queries at a time again; it needs neither the
// forward result nor its maxima.
using CausalAttentionBackwardFunction = void(const CausalAttentionBackwardArgs& args,
                                             const OpContext& context);

namespace ref {
CausalAttentionFunction causal_attention;
CausalAttentionBackwardFunction causal_attention_backward;
}  // namespace ref

namespace cpu {
CausalAttentionFunction causal_attention;
CausalAttentionBackwardFunction causal_attention_backward;
}  // namespace cpu

}  // namespace qround::ops
