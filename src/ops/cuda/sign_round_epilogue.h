// What follows a tile of a weight gradient in the block that made it: sign steps of V, alpha and
// beta and the new weights, so that no gradient is ever written to memory.
//
// The tile D [128 x 128] goes through shared memory; a warp then takes a row of it at a time, 128
// neighbouring weights, which are whole groups because tiles begin at multiples of 128.
#pragma once

#include "ops/cuda/dense_product.h"
#include "ops/cuda/sign_round_lane.h"
#include "ops/weight_gradient.h"

namespace qround::ops::cuda {

// D in shared memory, rows padded so that pairs of fragments do not meet in one bank.
inline constexpr int kGradientStride = kTile + 8;
inline constexpr int kGradientBytes = kTile * kGradientStride * 4;

template <class AnyProduct>
__device__ float* gradient_in_shared(const AnyProduct& product, float* shared) {
  product.for_each_pair([&](int row, int column, float value, float next) {
    *reinterpret_cast<float2*>(shared + row * kGradientStride + column) = make_float2(value, next);
  });
  __syncthreads();
  return shared;
}

// A matrix and the step it takes; pointers of `target` lead to the whole matrix.
struct SignRoundTask {
  SignRoundTarget target;
  SignRoundRule rule;
  const SignRoundStepSizes* sizes = nullptr;
};

// Rows [first_row, ..) and columns [first_column, ..) of the matrix, as far as they exist.
template <int kThreads>
__device__ void step_tile(const SignRoundTask& task, const float* gradient, int64_t first_row,
                          int64_t first_column) {
  const SignRoundStepSizes sizes = *task.sizes;
  for (int row = warp_idx(); row < kTile && first_row + row < task.target.weight.n;
       row += kThreads / kWarpLanes) {
    SignRoundLane lane(task.target.weight, task.rule, task.target.rows, first_row + row,
                       first_column);
    const float* at = gradient + row * kGradientStride + lane_idx() * kWeightsPerLane;
    const float of_lane[kWeightsPerLane] = {at[0], at[1], at[2], at[3]};
    lane.step(of_lane, sizes);
    lane.store(task.target.result);
  }
}

}  // namespace qround::ops::cuda
