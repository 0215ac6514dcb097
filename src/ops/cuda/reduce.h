// Sums over the lanes of a warp and the threads of a block, in an order that is always the same.
#pragma once

#include "ops/cuda/launch.h"

namespace qround::ops::cuda {

inline constexpr int kWarpLanes = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// Every lane gets the sum.
template <typename T>
__device__ T warp_sum(T value) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

__device__ inline float warp_max(float value) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

// Every thread of a block of kThreads (a multiple of 32, one-dimensional) gets the sum. Contains
// barriers.
template <int kThreads, typename T>
__device__ T block_sum(T value) {
  __shared__ T sums[kThreads / kWarpLanes];
  value = warp_sum(value);
  if (threadIdx.x % kWarpLanes == 0) sums[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
  T total = 0;
  for (const T sum : sums) total += sum;
  __syncthreads();  // before the next sum is written
  return total;
}

// The sum over the kLanes threads that work at one row: a warp or the whole block of that size.
template <int kLanes>
__device__ float row_sum(float value) {
  if constexpr (kLanes == kWarpLanes) {
    return warp_sum(value);
  } else {
    return block_sum<kLanes>(value);
  }
}

}  // namespace qround::ops::cuda
