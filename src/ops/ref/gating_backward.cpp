#include <cmath>

#include "ops/gating.h"

namespace qround::ops::ref {
namespace {
float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
}  // namespace

void swiglu_backward(const SwigluBackwardArgs& args, const OpContext&) {
  for (int64_t i = 0; i < args.count; ++i) {
    const float gate = args.gate[i], up = args.up[i], s = sigmoid(gate);
    args.d_gate[i] = args.d_out[i] * up * s * (1.0f + gate * (1.0f - s));
    args.d_up[i] = args.d_out[i] * gate * s;
  }
}

void sigmoid_gate_backward(const SigmoidGateBackwardArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.width;
    const float* d_out = args.d_out + row * args.width;
    const float* gate = args.gate + row * args.gate_width;
    float* dx = args.dx + row * args.width;
    float* d_gate = args.d_gate + row * args.gate_width;
    const bool one_gate = args.gate_width == 1;
    float s = sigmoid(gate[0]), sum = 0;
    for (int64_t i = 0; i < args.width; ++i) {
      if (!one_gate) s = sigmoid(gate[i]);
      const float change = d_out[i] * x[i] * s * (1.0f - s);
      dx[i] = d_out[i] * s;
      sum += change;
      if (!one_gate) d_gate[i] = change;
    }
    if (one_gate) d_gate[0] = sum;
  }
}

}  // namespace qround::ops::ref
