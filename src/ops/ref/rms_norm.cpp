#include "ops/rms_norm.h"

#include <cmath>

namespace qround::ops::ref {
namespace {

constexpr float kL2Eps = 1e-6f;

float sum_of_squares(const float* x, int64_t width) {
  float sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  return sum;
}

float inverse_rms(const float* x, RmsNormShape shape) {
  const float mean = sum_of_squares(x, shape.width) / static_cast<float>(shape.width);
  return 1.0f / std::sqrt(mean + shape.eps);
}

float silu(float x) { return x / (1.0f + std::exp(-x)); }

}  // namespace

void zero_centered_rms_norm(const float* x, const float* weight, RmsNormShape shape, float* y,
                            const OpContext&) {
  for (int64_t row = 0; row < shape.rows; ++row, x += shape.width, y += shape.width) {
    const float factor = inverse_rms(x, shape);
    for (int64_t i = 0; i < shape.width; ++i) y[i] = x[i] * factor * (1.0f + weight[i]);
  }
}

void gated_rms_norm(const float* x, const float* gate, const float* weight, RmsNormShape shape,
                    float* y, const OpContext&) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    const float factor = inverse_rms(x, shape);
    for (int64_t i = 0; i < shape.width; ++i) y[i] = x[i] * factor * weight[i] * silu(gate[i]);
    x += shape.width;
    gate += shape.width;
    y += shape.width;
  }
}

void l2_norm(const float* x, int64_t rows, int64_t width, float scale, float* y, const OpContext&) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float factor = scale / std::sqrt(sum_of_squares(x, width) + kL2Eps);
    for (int64_t i = 0; i < width; ++i) y[i] = x[i] * factor;
  }
}

}  // namespace qround::ops::ref
