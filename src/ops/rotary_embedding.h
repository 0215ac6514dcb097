// Rotary position embedding of the first R dimensions of each head, in pairs (i, i + R/2).
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

struct RotaryArgs {
  float* x = nullptr;                          // [T, heads, D], rotated in place
  const int64_t* positions = nullptr;          // [T]
  const float* inverse_frequencies = nullptr;  // [R/2]: theta^(-2i/R)
  int64_t tokens = 0, heads = 0, head_dim = 0, rotary_dim = 0;
};

// (x_i, x_{i+R/2}) <- (x_i cos - x_{i+R/2} sin, x_{i+R/2} cos + x_i sin), angle = position *
// inverse_frequency_i in f32, as the reference computes it.
using RotaryEmbeddingFunction = void(const RotaryArgs& args, const OpContext& context);

// The gradient of a rotation is the rotation back: args.x holds dy and becomes dx.
using RotaryEmbeddingBackwardFunction = void(const RotaryArgs& args, const OpContext& context);

namespace ref {
RotaryEmbeddingFunction rotary_embedding;
RotaryEmbeddingBackwardFunction rotary_embedding_backward;
}  // namespace ref

namespace cpu {
RotaryEmbeddingFunction rotary_embedding;
RotaryEmbeddingBackwardFunction rotary_embedding_backward;
}  // namespace cpu

namespace cuda {
RotaryEmbeddingFunction rotary_embedding;
RotaryEmbeddingBackwardFunction rotary_embedding_backward;
}  // namespace cuda

}  // namespace qround::ops
