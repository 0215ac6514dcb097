#include "ops/cuda/activation.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/row_lanes.h"
#include "ops/gating.h"

namespace qround::ops::cuda {
namespace {

__global__ void swiglu_elements(const float* gate, const float* up, int64_t count, float* out) {
  const int64_t i = element_index();
  if (i < count) out[i] = silu(gate[i]) * up[i];
}

__global__ void swiglu_backward_elements(SwigluBackwardArgs args) {
  const int64_t i = element_index();
  if (i >= args.count) return;
  const float gate = args.gate[i], up = args.up[i], d_out = args.d_out[i];
  args.d_gate[i] = d_out * up * silu_slope(gate);
  args.d_up[i] = d_out * silu(gate);
}

template <int kLanes>
__global__ void gate_rows(SigmoidGateArgs args) {
  const int64_t row = row_index<kLanes>();
  if (row >= args.rows) return;
  float* x = args.x + row * args.width;
  const float* gate = args.gate + row * args.gate_width;
  const bool one_gate = args.gate_width == 1;
  for (int64_t i = row_lane<kLanes>(); i < args.width; i += kLanes)
    x[i] *= sigmoid(gate[one_gate ? 0 : i]);
}

template <int kLanes>
__global__ void gate_rows_backward(SigmoidGateBackwardArgs args) {
  const int64_t row = row_index<kLanes>();
  if (row >= args.rows) return;
  const float* x = args.x + row * args.width;
  const float* d_out = args.d_out + row * args.width;
  const float* gate = args.gate + row * args.gate_width;
  float* dx = args.dx + row * args.width;
  float* d_gate = args.d_gate + row * args.gate_width;
  const bool one_gate = args.gate_width == 1;
  float s = sigmoid(gate[0]), sum = 0;
  for (int64_t i = row_lane<kLanes>(); i < args.width; i += kLanes) {
    if (!one_gate) s = sigmoid(gate[i]);
    const float change = d_out[i] * x[i] * s * (1.0f - s);
    dx[i] = d_out[i] * s;
    sum += change;
    if (!one_gate) d_gate[i] = change;
  }
  if (!one_gate) return;
  const float total = row_sum<kLanes>(sum);
  if (row_lane<kLanes>() == 0) d_gate[0] = total;
}

}  // namespace

void swiglu(const float* gate, const float* up, int64_t count, float* out,
            const OpContext& context) {
  launch_elements(swiglu_elements, count, context.stream, gate, up, count, out);
}

void swiglu_backward(const SwigluBackwardArgs& args, const OpContext& context) {
  launch_elements(swiglu_backward_elements, args.count, context.stream, args);
}

void sigmoid_gate(const SigmoidGateArgs& args, const OpContext& context) {
  launch_rows(gate_rows<kWarpLanes>, gate_rows<kRowBlock>, args.rows, args.width, context.stream,
              args);
}

void sigmoid_gate_backward(const SigmoidGateBackwardArgs& args, const OpContext& context) {
  launch_rows(gate_rows_backward<kWarpLanes>, gate_rows_backward<kRowBlock>, args.rows, args.width,
              context.stream, args);
}

}  // namespace qround::ops::cuda
