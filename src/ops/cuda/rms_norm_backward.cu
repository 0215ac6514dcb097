// With x̂ = x r, r = (mean(x²) + eps)^(-1/2) and d = dL/dx̂: dx = r (d - x̂ mean(d x̂)).
//
// A row's dx needs two sums over the row. A weight's gradient is a sum over the rows: a thread per
// column adds them up in order, before dx may overwrite its operands.
#include "ops/cuda/activation.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/row_lanes.h"
#include "ops/rms_norm.h"

namespace qround::ops::cuda {
namespace {

constexpr float kL2Eps = 1e-6f;

template <int kLanes>
__device__ float row_dot(const float* a, const float* b, int64_t width) {
  float sum = 0;
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes) sum += a[i] * b[i];
  return row_sum<kLanes>(sum);
}

template <int kLanes>
__device__ float inverse_rms(const float* x, RmsNormShape shape) {
  const float mean = row_dot<kLanes>(x, x, shape.width) / static_cast<float>(shape.width);
  return 1.0f / sqrtf(mean + shape.eps);
}

template <int kLanes>
__global__ void inverse_rms_rows(const float* x, RmsNormShape shape, float* r) {
  const int64_t row = row_index<kLanes>();
  if (row >= shape.rows) return;
  const float value = inverse_rms<kLanes>(x + row * shape.width, shape);
  if (row_lane<kLanes>() == 0) r[row] = value;
}

// gate is null for the norm without one.
__global__ void weight_columns(const float* x, const float* gate, const float* dy, const float* r,
                               RmsNormShape shape, float* d_weight) {
  const int64_t column = element_index();
  if (column >= shape.width) return;
  float sum = 0;
  for (int64_t row = 0; row < shape.rows; ++row) {
    const int64_t i = row * shape.width + column;
    const float gain = gate == nullptr ? 1.0f : silu(gate[i]);
    sum += dy[i] * x[i] * r[row] * gain;
  }
  d_weight[column] += sum;
}

// d_weight += of either norm.
void weight_backward(const float* x, const float* gate, const float* dy, RmsNormShape shape,
                     float* d_weight, const OpContext& context) {
  if (d_weight == nullptr) return;
  Workspace::Scope scope(context.workspace);
  const auto r = scope.take<float>(static_cast<size_t>(shape.rows));
  launch_rows(inverse_rms_rows<kWarpLanes>, inverse_rms_rows<kRowBlock>, shape.rows, shape.width,
              context.stream, x, shape, r.data());
  launch_elements(weight_columns, shape.width, context.stream, x, gate, dy, r.data(), shape,
                  d_weight);
}

template <int kLanes>
__global__ void zero_centered_rows(ZeroCenteredRmsNormBackwardArgs args) {
  const int64_t row = row_index<kLanes>(), width = args.shape.width;
  if (row >= args.shape.rows) return;
  const float* x = args.x + row * width;
  const float* dy = args.dy + row * width;
  float* dx = args.dx + row * width;
  const float r = inverse_rms<kLanes>(x, args.shape);
  float sum = 0;
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes)
    sum += dy[i] * (1.0f + args.weight[i]) * x[i] * r;
  const float mean = row_sum<kLanes>(sum) / static_cast<float>(width);
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes) {
    const float change = r * (dy[i] * (1.0f + args.weight[i]) - x[i] * r * mean);
    dx[i] = args.add_to_dx ? dx[i] + change : change;
  }
}

template <int kLanes>
__global__ void gated_rows(GatedRmsNormBackwardArgs args) {
  const int64_t row = row_index<kLanes>(), width = args.shape.width;
  if (row >= args.shape.rows) return;
  const float* x = args.x + row * width;
  const float* gate = args.gate + row * width;
  const float* dy = args.dy + row * width;
  float* dx = args.dx + row * width;
  float* d_gate = args.d_gate + row * width;
  const float r = inverse_rms<kLanes>(x, args.shape);
  float sum = 0;
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes)
    sum += dy[i] * args.weight[i] * silu(gate[i]) * x[i] * r;
  const float mean = row_sum<kLanes>(sum) / static_cast<float>(width);
  for (int64_t i = row_lane<kLanes>(); i < width; i += kLanes) {
    const float normed = x[i] * r, dy_i = dy[i], gate_i = gate[i];
    dx[i] = r * (dy_i * args.weight[i] * silu(gate_i) - normed * mean);
    d_gate[i] = dy_i * normed * args.weight[i] * silu_slope(gate_i);
  }
}

// y = scale x r with r = (Σx² + eps)^(-1/2): dx = scale r (dy - x r (x r · dy)).
template <int kLanes>
__global__ void l2_rows(L2NormBackwardArgs args) {
  const int64_t row = row_index<kLanes>();
  if (row >= args.tokens * args.heads) return;
  const int64_t t = row / args.heads, head = row % args.heads;
  const float* x = args.x + t * args.x_stride + head * args.width;
  const float* dy = args.dy + t * args.dy_stride + head * args.width;
  float* dx = args.dx + t * args.dx_stride + head * args.width;
  const float r = 1.0f / sqrtf(row_dot<kLanes>(x, x, args.width) + kL2Eps);
  const float along = row_dot<kLanes>(x, dy, args.width) * r * r;
  for (int64_t i = row_lane<kLanes>(); i < args.width; i += kLanes)
    dx[i] = args.scale * r * (dy[i] - x[i] * along);
}

}  // namespace

void zero_centered_rms_norm_backward(const ZeroCenteredRmsNormBackwardArgs& args,
                                     const OpContext& context) {
  weight_backward(args.x, nullptr, args.dy, args.shape, args.d_weight, context);
  launch_rows(zero_centered_rows<kWarpLanes>, zero_centered_rows<kRowBlock>, args.shape.rows,
              args.shape.width, context.stream, args);
}

void gated_rms_norm_backward(const GatedRmsNormBackwardArgs& args, const OpContext& context) {
  weight_backward(args.x, args.gate, args.dy, args.shape, args.d_weight, context);
  launch_rows(gated_rows<kWarpLanes>, gated_rows<kRowBlock>, args.shape.rows, args.shape.width,
              context.stream, args);
}

void l2_norm_backward(const L2NormBackwardArgs& args, const OpContext& context) {
  launch_rows(l2_rows<kWarpLanes>, l2_rows<kRowBlock>, args.tokens * args.heads, args.width,
              context.stream, args);
}

}  // namespace qround::ops::cuda
