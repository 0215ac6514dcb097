#include "ops/rotary_embedding.h"

#include <cmath>

#include "ops/cpu/row_blocks.h"

namespace qround::ops::cpu {
namespace {

// Cosines, then sines, of one token's angles. The standard library reduces large angles exactly,
// and its cost is shared by all heads.
void angles_of(const RotaryArgs& args, int64_t token, float* cosines, float* sines) {
  const auto position = static_cast<float>(args.positions[token]);
  for (int64_t i = 0; i < args.rotary_dim / 2; ++i) {
    const float angle = position * args.inverse_frequencies[i];
    cosines[i] = std::cos(angle);
    sines[i] = std::sin(angle);
  }
}

void rotate(const float* cosines, const float* sines, int64_t half, float* x) {
  for (int64_t i = 0; i < half; ++i) {
    const float first = x[i], second = x[i + half];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + half] = second * cosines[i] + first * sines[i];
  }
}

}  // namespace

void rotary_embedding(const RotaryArgs& args, const OpContext& context) {
  const int64_t half = args.rotary_dim / 2;
  Workspace::Scope scope(context.workspace);
  const auto table = scope.take<float>(static_cast<size_t>(args.tokens * args.rotary_dim));
  for_row_blocks(
      context.threads, args.tokens, args.heads * args.rotary_dim, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          float* cosines = table.data() + t * args.rotary_dim;
          float* sines = cosines + half;
          angles_of(args, t, cosines, sines);
          for (int64_t head = 0; head < args.heads; ++head)
            rotate(cosines, sines, half, args.x + (t * args.heads + head) * args.head_dim);
        }
      });
}

}  // namespace qround::ops::cpu
