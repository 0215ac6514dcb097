#include "ops/cuda/elements.h"
#include "ops/rotary_embedding.h"

namespace qround::ops::cuda {
namespace {

// A thread turns one pair of one head; `direction` -1 turns back.
__global__ void rotate_pairs(RotaryArgs args, float direction) {
  const int64_t half = args.rotary_dim / 2, index = element_index();
  if (index >= args.tokens * args.heads * half) return;
  const int64_t row = index / half, i = index % half;
  float* x = args.x + row * args.head_dim;
  const auto position = static_cast<float>(args.positions[row / args.heads]);
  const float angle = position * args.inverse_frequencies[i];
  const float cosine = cosf(angle), sine = direction * sinf(angle);
  const float first = x[i], second = x[i + half];
  x[i] = first * cosine - second * sine;
  x[i + half] = second * cosine + first * sine;
}

void rotate(const RotaryArgs& args, float direction, const OpContext& context) {
  launch_elements(rotate_pairs, args.tokens * args.heads * (args.rotary_dim / 2), context.stream,
                  args, direction);
}

}  // namespace

void rotary_embedding(const RotaryArgs& args, const OpContext& context) {
  rotate(args, 1, context);
}

void rotary_embedding_backward(const RotaryArgs& args, const OpContext& context) {
  rotate(args, -1, context);
}

}  // namespace qround::ops::cuda
