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

struct SwigluBackwardArgs {
  const float *gate = nullptr, *up = nullptr, *d_out = nullptr;  // [count]
  float *d_gate = nullptr, *d_up = nullptr;                      // [count], may be gate and up
  int64_t count = 0;
};
using SwigluBackwardFunction = void(const SwigluBackwardArgs& args, const OpContext& context);

struct SigmoidGateBackwardArgs {
  const float* x = nullptr;      // [rows, width], before the gate
  const float* gate = nullptr;   // [rows, gate_width]
  const float* d_out = nullptr;  // [rows, width]
  float* dx = nullptr;           // [rows, width], may be d_out or x
  float* d_gate = nullptr;       // [rows, gate_width], may be gate
  int64_t rows = 0, width = 0, gate_width = 0;
};
using SigmoidGateBackwardFunction = void(const SigmoidGateBackwardArgs& args,
                                         const OpContext& context);

namespace ref {
SwigluFunction swiglu;
SigmoidGateFunction sigmoid_gate;
SwigluBackwardFunction swiglu_backward;
SigmoidGateBackwardFunction sigmoid_gate_backward;
}  // namespace ref

namespace cpu {
SwigluFunction swiglu;
SigmoidGateFunction sigmoid_gate;
SwigluBackwardFunction swiglu_backward;
SigmoidGateBackwardFunction sigmoid_gate_backward;
}  // namespace cpu

namespace cuda {
SwigluFunction swiglu;
SigmoidGateFunction sigmoid_gate;
SwigluBackwardFunction swiglu_backward;
SigmoidGateBackwardFunction sigmoid_gate_backward;
}  // namespace cuda

}  // namespace qround::ops
