#include "ops/cuda/activation.h"
#include "ops/cuda/row_lanes.h"
#include "ops/rms_norm.h"

namespace qround::ops::cuda {
namespace {

template <int kLanes>
__device__ float row_sum_of_squares(const float* x, int64_t width) {
  float sum = 0;
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes) sum += x[i] * x[i];
  return row_sum<kLanes>(sum);
}

template <int kLanes>
__device__ float inverse_rms(const float* x, RmsNormShape shape) {
  const float mean = row_sum_of_squares<kLanes>(x, shape.width) / static_cast<float>(shape.width);
  return 1.0f / sqrtf(mean + shape.eps);
}

template <int kLanes>
__global__ void zero_centered_rows(const float* x, const float* weight, RmsNormShape shape,
                                   float* y) {
  const int64_t row = row_index<kLanes>();
  if (row >= shape.rows) return;
  x += row * shape.width;
  y += row * shape.width;
  const float factor = inverse_rms<kLanes>(x, shape);
  for (int64_t i = row_lane<kLanes>(); i < shape.width; i += kLanes)
    y[i] = x[i] * factor * (1.0f + weight[i]);
}

template <int kLanes>
__global__ void gated_rows(const float* x, const float* gate, const float* weight,
                           RmsNormShape shape, float* y) {
  const int64_t row = row_index<kLanes>();
  if (row >= shape.rows) return;
  x += row * shape.width;
  gate += row * shape.width;
  y += row * shape.width;
  const float factor = inverse_rms<kLanes>(x, shape);
  for (int64_t i = row_lane<kLanes>(); i < shape.width; i += kLanes)
    y[i] = x[i] * factor * weight[i] * silu(gate[i]);
}

template <int kLanes>
__global__ void l2_rows(const float* x, int64_t rows, int64_t width, float scale, float* y) {
  constexpr float kL2Eps = 1e-6f;
  const int64_t row = row_index<kLanes>();
  if (row >= rows) return;
  x += row * width;
  y += row * width;
  const float factor = scale / sqrtf(row_sum_of_squares<kLanes>(x, width) + kL2Eps);
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes) y[i] = x[i] * factor;
}

}  // namespace

void zero_centered_rms_norm(const float* x, const float* weight, RmsNormShape shape, float* y,
                            const OpContext& context) {
  launch_rows(zero_centered_rows<kWarpLanes>, zero_centered_rows<kRowBlock>, shape.rows,
              shape.width, context.stream, x, weight, shape, y);
}

void gated_rms_norm(const float* x, const float* gate, const float* weight, RmsNormShape shape,
                    float* y, const OpContext& context) {
  launch_rows(gated_rows<kWarpLanes>, gated_rows<kRowBlock>, shape.rows, shape.width,
              context.stream, x, gate, weight, shape, y);
}

void l2_norm(const float* x, int64_t rows, int64_t width, float scale, float* y,
             const OpContext& context) {
  launch_rows(l2_rows<kWarpLanes>, l2_rows<kRowBlock>, rows, width, context.stream, x, rows, width,
              scale, y);
}

}  // namespace qround::ops::cuda
