// Causal attention with grouped key/value heads.
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

// Tokens whose keys and values lie together where a cache is cut into pages.
inline constexpr int64_t kKvPageTokens = 128;

// Keys and values either lie in one piece (`keys`, `values`) or in pages: rows of page p belong to
// tokens p * kKvPageTokens and following; its keys start at pages[p] + key_offset.
struct CausalAttentionArgs {
  const float* q = nullptr;                  // [T, Hq, D]
  const float* keys = nullptr;               // [S, Hkv, D], the T newest last
  const float* values = nullptr;             // [S, Hkv, D]
  const float* const* pages = nullptr;       // [ceil(S / kKvPageTokens)], or null
  int64_t key_offset = 0, value_offset = 0;  // floats from a page's beginning
  float* out = nullptr;                      // [T, Hq, D]
  int64_t tokens = 0;                        // T
  int64_t context = 0;                       // S >= T; query t sees keys 0 .. S - T + t
  int64_t heads = 0, kv_heads = 0,
          head_dim = 0;  // Hq, Hkv, D; query head h reads kv head h / (Hq / Hkv)
  float scale = 1;       // D^(-1/2)
};

// out = softmax(scale * q kᵀ, causal) v, softmax in f32. The fast version walks the keys in blocks
// with a running maximum and never holds a T x S matrix. A query's bits depend on the keys it sees
// alone, not on the queries that come with it.
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

// Where the keys (values) of tokens from `token` to the end of its page start.
inline const float* keys_at(const CausalAttentionArgs& args, int64_t token) {
  const int64_t row = args.kv_heads * args.head_dim;
  if (args.pages == nullptr) return args.keys + token * row;
  return args.pages[token / kKvPageTokens] + args.key_offset + token % kKvPageTokens * row;
}
inline const float* values_at(const CausalAttentionArgs& args, int64_t token) {
  const int64_t row = args.kv_heads * args.head_dim;
  if (args.pages == nullptr) return args.values + token * row;
  return args.pages[token / kKvPageTokens] + args.value_offset + token % kKvPageTokens * row;
}

namespace ref {
CausalAttentionFunction causal_attention;
CausalAttentionBackwardFunction causal_attention_backward;
}  // namespace ref

namespace cpu {
CausalAttentionFunction causal_attention;
CausalAttentionBackwardFunction causal_attention_backward;
}  // namespace cpu

namespace cuda {
// bf16 products; heads of at most 256.
CausalAttentionFunction causal_attention;
CausalAttentionBackwardFunction causal_attention_backward;
}  // namespace cuda

}  // namespace qround::ops
