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

namespace ref {
ZeroCenteredRmsNormFunction zero_centered_rms_norm;
GatedRmsNormFunction gated_rms_norm;
L2NormFunction l2_norm;
}  // namespace ref

namespace cpu {
ZeroCenteredRmsNormFunction zero_centered_rms_norm;
GatedRmsNormFunction gated_rms_norm;
L2NormFunction l2_norm;
}  // namespace cpu

}  // namespace qround::ops
