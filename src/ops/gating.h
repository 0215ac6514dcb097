// Elementwise gates.
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

// out = silu(gate) * up, silu(x) = x * sigmoid(x). out may be gate or up.
using SwigluFunction = void(const float* gate, const float* up, int64_t count, float* out,
                            const OpContext& context);

// x <- x * sigmoid(gate), both [rows, width]; gate_width is width or 1 (one gate for a whole row).
struct SigmoidGateArgs {
  float* x = nullptr;
  const float* gate = nullptr;
  int64_t rows = 0, width = 0, gate_width = 0;
};
using SigmoidGateFunction = void(const SigmoidGateArgs& args, const OpContext& context);

namespace ref {
SwigluFunction swiglu;
SigmoidGateFunction sigmoid_gate;
}  // namespace ref

namespace cpu {
SwigluFunction swiglu;
SigmoidGateFunction sigmoid_gate;
}  // namespace cpu

}  // namespace qround::ops
