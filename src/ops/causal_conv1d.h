// Depthwise causal convolution over time, followed by SiLU, with the history of earlier tokens.
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

struct CausalConv1dArgs {
  const float* u = nullptr;       // [T, C]
  const float* weight = nullptr;  // [C, Kc]; tap Kc - 1 multiplies the current token
  float* history =
      nullptr;  // [Kc - 1, C]: the inputs before u, oldest first; updated to the last Kc - 1 inputs
  float* out = nullptr;  // [T, C]
  int64_t tokens = 0, channels = 0, taps = 0;
};

// out[t][c] = silu(sum over j of weight[c][j] * u[t - Kc + 1 + j][c]).
using CausalConv1dSiluFunction = void(const CausalConv1dArgs& args, const OpContext& context);

struct CausalConv1dBackwardArgs {
  const float* u = nullptr;       // [sequences, T, C], the forward input; every sequence starts
                                  // with a history of zeros
  const float* weight = nullptr;  // [C, Kc]
  const float* d_out = nullptr;   // [sequences, T, C]
  float* du = nullptr;            // [sequences, T, C], may be u or d_out
  float* d_weight = nullptr;      // [C, Kc], added to; or null
  int64_t sequences = 1, tokens = 0, channels = 0, taps = 0;
};
using CausalConv1dSiluBackwardFunction = void(const CausalConv1dBackwardArgs& args,
                                              const OpContext& context);

namespace ref {
CausalConv1dSiluFunction causal_conv1d_silu;
CausalConv1dSiluBackwardFunction causal_conv1d_silu_backward;
}  // namespace ref

namespace cpu {
CausalConv1dSiluFunction causal_conv1d_silu;
CausalConv1dSiluBackwardFunction causal_conv1d_silu_backward;
}  // namespace cpu

namespace cuda {
CausalConv1dSiluFunction causal_conv1d_silu;
CausalConv1dSiluBackwardFunction causal_conv1d_silu_backward;
}  // namespace cuda

}  // namespace qround::ops
