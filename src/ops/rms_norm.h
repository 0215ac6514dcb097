// Root-mean-square norms of the family (model.md calls them ZC and Gated).
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

struct RmsNormShape {
  int64_t rows = 0, width = 0;
  float eps = 1e-6f;
};

// y = x / sqrt(mean(x²) + eps) * (1 + weight). x, y [rows, width] (y may be x), weight [width]:
// gain minus one.
using ZeroCenteredRmsNormFunction = void(const float* x, const float* weight, RmsNormShape shape,
                                         float* y, const OpContext& context);

// y = x / sqrt(mean(x²) + eps) * weight * silu(gate). gate [rows, width]; weight [width] is the
// gain itself. y may be x or gate.
using GatedRmsNormFunction = void(const float* x, const float* gate, const float* weight,
                                  RmsNormShape shape, float* y, const OpContext& context);

// y = x / sqrt(sum(x²) + 1e-6) * scale: the epsilon is added to the sum, not to the mean. y may be
// x.
using L2NormFunction = void(const float* x, int64_t rows, int64_t width, float scale, float* y,
                            const OpContext& context);

// Gradients: dx from dy = dL/dy; weight gradients are added to, and left out where the pointer is
// null.
struct ZeroCenteredRmsNormBackwardArgs {
  const float* x = nullptr;       // [rows, width], the forward input
  const float* weight = nullptr;  // [width]
  const float* dy = nullptr;      // [rows, width]
  float* dx = nullptr;            // [rows, width], may be dy
  float* d_weight = nullptr;      // [width] or null
  RmsNormShape shape;
  bool add_to_dx = false;  // dx += instead of dx =; dx is not dy then
};
using ZeroCenteredRmsNormBackwardFunction = void(const ZeroCenteredRmsNormBackwardArgs& args,
                                                 const OpContext& context);

struct GatedRmsNormBackwardArgs {
  const float* x = nullptr;       // [rows, width]
  const float* gate = nullptr;    // [rows, width]
  const float* weight = nullptr;  // [width]
  const float* dy = nullptr;      // [rows, width]
  float* dx = nullptr;            // [rows, width], may be dy or x
  float* d_gate = nullptr;        // [rows, width], may be gate
  float* d_weight = nullptr;      // [width] or null
  RmsNormShape shape;
};
using GatedRmsNormBackwardFunction = void(const GatedRmsNormBackwardArgs& args,
                                          const OpContext& context);

// Heads of `width` values lie side by side in a token's row; the rows may be columns of wider ones.
struct L2NormBackwardArgs {
  const float* x = nullptr;   // [T, heads, width], the forward input
  const float* dy = nullptr;  // [T, heads, width]
  float* dx = nullptr;        // [T, heads, width], may be dy
  int64_t tokens = 0, heads = 0, width = 0;
  int64_t x_stride = 0, dy_stride = 0, dx_stride = 0;  // floats from one token to the next
  float scale = 1;
};
using L2NormBackwardFunction = void(const L2NormBackwardArgs& args, const OpContext& context);

namespace ref {
ZeroCenteredRmsNormFunction zero_centered_rms_norm;
GatedRmsNormFunction gated_rms_norm;
L2NormFunction l2_norm;
ZeroCenteredRmsNormBackwardFunction zero_centered_rms_norm_backward;
GatedRmsNormBackwardFunction gated_rms_norm_backward;
L2NormBackwardFunction l2_norm_backward;
}  // namespace ref

namespace cpu {
ZeroCenteredRmsNormFunction zero_centered_rms_norm;
GatedRmsNormFunction gated_rms_norm;
L2NormFunction l2_norm;
ZeroCenteredRmsNormBackwardFunction zero_centered_rms_norm_backward;
GatedRmsNormBackwardFunction gated_rms_norm_backward;
L2NormBackwardFunction l2_norm_backward;
}  // namespace cpu

namespace cuda {
ZeroCenteredRmsNormFunction zero_centered_rms_norm;
GatedRmsNormFunction gated_rms_norm;
L2NormFunction l2_norm;
ZeroCenteredRmsNormBackwardFunction zero_centered_rms_norm_backward;
GatedRmsNormBackwardFunction gated_rms_norm_backward;
L2NormBackwardFunction l2_norm_backward;
}  // namespace cuda

}  // namespace qround::ops
