#include <cmath>

#include "ops/rotary_embedding.h"

namespace qround::ops::ref {

void rotary_embedding_backward(const RotaryArgs& args, const OpContext&) {
  const int64_t half = args.rotary_dim / 2;
  for (int64_t t = 0; t < args.tokens; ++t) {
    const auto position = static_cast<float>(args.positions[t]);
    for (int64_t head = 0; head < args.heads; ++head) {
      float* x = args.x + (t * args.heads + head) * args.head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const float angle = position * args.inverse_frequencies[i];
        const float cosine = std::cos(angle), sine = std::sin(angle);
        const float first = x[i], second = x[i + half];
        x[i] = first * cosine + second * sine;
        x[i + half] = second * cosine - first * sine;
      }
    }
  }
}

}  // namespace qround::ops::ref
