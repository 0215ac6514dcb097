#include "ops/gating.h"

#include <cmath>

namespace qround::ops::ref {
namespace {
float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
}  // namespace

void swiglu(const float* gate, const float* up, int64_t count, float* out, const OpContext&) {
  for (int64_t i = 0; i < count; ++i) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void sigmoid_gate(const SigmoidGateArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    float* x = args.x + row * args.width;
    const float* gate = args.gate + row * args.gate_width;
    for (int64_t i = 0; i < args.width; ++i) x[i] *= sigmoid(gate[args.gate_width == 1 ? 0 : i]);
  }
}

}  // namespace qround::ops::ref
