// With x̂ = x r, r = (mean(x²) + eps)^(-1/2) and d = dL/dx̂: dx = r (d - x̂ mean(d x̂)).
#include <cmath>

#include "ops/rms_norm.h"

namespace qround::ops::ref {
namespace {

constexpr float kL2Eps = 1e-6f;

float dot(const float* a, const float* b, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

float inverse_rms(const float* x, RmsNormShape shape) {
  return 1.0f / std::sqrt(dot(x, x, shape.width) / static_cast<float>(shape.width) + shape.eps);
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

void zero_centered_rms_norm_backward(const ZeroCenteredRmsNormBackwardArgs& args,
                                     const OpContext&) {
  const int64_t width = args.shape.width;
  for (int64_t row = 0; row < args.shape.rows; ++row) {
    const float* x = args.x + row * width;
    const float* dy = args.dy + row * width;
    float* dx = args.dx + row * width;
    const float r = inverse_rms(x, args.shape);
    float mean = 0;  // of d x̂
    for (int64_t i = 0; i < width; ++i) {
      if (args.d_weight != nullptr) args.d_weight[i] += dy[i] * x[i] * r;
      mean += dy[i] * (1.0f + args.weight[i]) * x[i] * r;
    }
    mean /= static_cast<float>(width);
    for (int64_t i = 0; i < width; ++i) {
      const float change = r * (dy[i] * (1.0f + args.weight[i]) - x[i] * r * mean);
      dx[i] = args.add_to_dx ? dx[i] + change : change;
    }
  }
}

void gated_rms_norm_backward(const GatedRmsNormBackwardArgs& args, const OpContext&) {
  const int64_t width = args.shape.width;
  for (int64_t row = 0; row < args.shape.rows; ++row) {
    const float* x = args.x + row * width;
    const float* gate = args.gate + row * width;
    const float* dy = args.dy + row * width;
    float* dx = args.dx + row * width;
    float* d_gate = args.d_gate + row * width;
    const float r = inverse_rms(x, args.shape);
    float mean = 0;
    for (int64_t i = 0; i < width; ++i)
      mean += dy[i] * args.weight[i] * gate[i] * sigmoid(gate[i]) * x[i] * r;
    mean /= static_cast<float>(width);
    for (int64_t i = 0; i < width; ++i) {
      const float s = sigmoid(gate[i]), normed = x[i] * r, dy_i = dy[i];
      if (args.d_weight != nullptr) args.d_weight[i] += dy_i * normed * gate[i] * s;
      dx[i] = r * (dy_i * args.weight[i] * gate[i] * s - normed * mean);
      d_gate[i] = dy_i * normed * args.weight[i] * s * (1.0f + gate[i] * (1.0f - s));
    }
  }
}

// y = scale x r with r = (Σx² + eps)^(-1/2): dx = scale r (dy - x r (x r · dy)).
void l2_norm_backward(const L2NormBackwardArgs& args, const OpContext&) {
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t head = 0; head < args.heads; ++head) {
      const float* x = args.x + t * args.x_stride + head * args.width;
      const float* dy = args.dy + t * args.dy_stride + head * args.width;
      float* dx = args.dx + t * args.dx_stride + head * args.width;
      const float r = 1.0f / std::sqrt(dot(x, x, args.width) + kL2Eps);
      const float along = dot(x, dy, args.width) * r * r;
      for (int64_t i = 0; i < args.width; ++i) dx[i] = args.scale * r * (dy[i] - x[i] * along);
    }
}

}  // namespace qround::ops::ref
