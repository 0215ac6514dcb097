// Scalar functions of activations, in kernels.
#pragma once

#include <cuda_runtime.h>

namespace qround::ops::cuda {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }

// y = silu(x): dy/dx.
__device__ inline float silu_slope(float x) {
  const float s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

}  // namespace qround::ops::cuda
