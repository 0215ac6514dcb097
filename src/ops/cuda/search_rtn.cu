// A warp takes a group: its weights and their importance lie in shared memory, every lane tries
// other scales. A scale's error is the same chain of multiply-adds in the order of inputs as on the
// host, and of equal errors the first in the list of candidates wins: all versions choose alike.
// Tested by tests/ops/search_rtn_test.cpp against ref.
#include "ops/cuda/rtn_sums.h"
#include "ops/cuda/weight_value.h"
#include "ops/full_range_int4.h"
#include "ops/search_rtn.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarpLanes, kMostWeights = 128;
constexpr float kMostClipping = 32, kLeastClipping = 6, kLargestScale = 65280;
constexpr int kAutoroundSteps = 100;
constexpr float kAutoroundStep = 0.06f;

struct SearchArgs {
  DenseWeight weight;
  SearchRtnRows rows;
  GroupSums* sums;
};

__device__ float f16_rounded(float value) { return __half2float(__float2half_rn(value)); }

// The candidates of a group by index; scale_candidates of search_rtn.cpp in another form.
class Candidates {
 public:
  __device__ Candidates(ScaleGrid grid, const SearchedGroup& group)
      : grid_(grid), extreme_(group.extreme), smallest_(f16_value(kSmallestScale)) {
    float plain =
        f16_rounded((group.high < -group.low ? -group.low : -fmaxf(-group.low, group.high)) / 8);
    if (fabsf(plain) < smallest_) plain = plain < 0 ? -smallest_ : smallest_;
    if (grid == ScaleGrid::bf16) {
      const float rounded = from_bf16(to_bf16(plain));
      first_ = fminf(fmaxf(rounded, -kLargestScale), kLargestScale);
      const float magnitude = fabsf(extreme_);
      first_bits_ = to_bf16(fmaxf(__fdiv_rn(magnitude, kMostClipping), smallest_));
      const int last_bits = to_bf16(fminf(__fdiv_rn(magnitude, kLeastClipping), kLargestScale));
      count_ = extreme_ == 0 ? 1 : 1 + 2 * max(0, last_bits - first_bits_ + 1);
    } else {
      const float exact = __fdiv_rn(extreme_, -8.0f);
      first_ = fabsf(exact) >= smallest_ ? exact : plain;
      count_ = extreme_ == 0 ? 1 : 2 + 2 * kAutoroundSteps;
    }
  }

  __device__ int count() const { return count_; }

  // False: no such candidate.
  __device__ bool get(int i, float& scale) const {
    if (i == 0) {
      scale = first_;
      return true;
    }
    if (grid_ == ScaleGrid::bf16) {
      const float magnitude = from_bf16(static_cast<uint16_t>(first_bits_ + (i - 1) / 2));
      scale = (i - 1) % 2 == 0 ? magnitude : -magnitude;
      return magnitude >= smallest_;
    }
    const int k = i - 1 - kAutoroundSteps;
    const float codes = __fsub_rn(8.0f, __fmul_rn(kAutoroundStep, static_cast<float>(k)));
    scale = __fdiv_rn(1.0f, __fmul_rn(-codes, __fdiv_rn(1.0f, extreme_)));
    if (k == 0 || !(fabsf(scale) < INFINITY)) return false;
    scale = copysignf(fmaxf(fabsf(scale), smallest_), scale);
    return true;
  }

 private:
  ScaleGrid grid_;
  float extreme_, smallest_, first_ = 0;
  int first_bits_ = 0, count_ = 1;
};

__device__ float weighted_error(const float* w, const float* importance, int count, float scale) {
  const float inverse = __fdiv_rn(1.0f, scale);
  float sum = 0;
  for (int j = 0; j < count; ++j) {
    const float limited =
        fminf(fmaxf(__fmul_rn(w[j], inverse), float{kLowestCode}), float{kHighestCode});
    const float error = __fmaf_rn(-scale, rintf(limited), w[j]);
    sum = __fmaf_rn(__fmul_rn(importance[j], error), error, sum);
  }
  return sum;
}

// The group's extremes; the first weight of the largest magnitude.
__device__ SearchedGroup group_shape(const float* w, int count) {
  SearchedGroup shape;
  int idx = kMostWeights;
  for (int j = lane_idx(); j < count; j += kWarpLanes) {
    shape.low = fminf(shape.low, w[j]);
    shape.high = fmaxf(shape.high, w[j]);
    if (fabsf(w[j]) > fabsf(shape.extreme)) {
      shape.extreme = w[j];
      idx = j;
    }
  }
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    shape.low = fminf(shape.low, __shfl_xor_sync(kAllLanes, shape.low, distance));
    shape.high = fmaxf(shape.high, __shfl_xor_sync(kAllLanes, shape.high, distance));
    const float other = __shfl_xor_sync(kAllLanes, shape.extreme, distance);
    const int other_idx = __shfl_xor_sync(kAllLanes, idx, distance);
    const float mine = fabsf(shape.extreme), theirs = fabsf(other);
    if (theirs > mine || (theirs == mine && other_idx < idx)) {
      shape.extreme = other;
      idx = other_idx;
    }
  }
  return shape;
}

// The candidate of the smallest error, of equal ones the first.
__device__ float best_scale(const Candidates& candidates, const float* w, const float* importance,
                            int count) {
  float best = 0;
  candidates.get(0, best);
  float best_error = weighted_error(w, importance, count, best);
  int best_idx = 0;
  for (int i = lane_idx(); i < candidates.count(); i += kWarpLanes) {
    float scale;
    if (!candidates.get(i, scale)) continue;
    const float error = weighted_error(w, importance, count, scale);
    if (!(error < best_error)) continue;
    best = scale;
    best_error = error;
    best_idx = i;
  }
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, distance);
    const float other_error = __shfl_xor_sync(kAllLanes, best_error, distance);
    const int other_idx = __shfl_xor_sync(kAllLanes, best_idx, distance);
    if (other_error < best_error || (other_error == best_error && other_idx < best_idx)) {
      best = other;
      best_error = other_error;
      best_idx = other_idx;
    }
  }
  return best;
}

__global__ void search_groups(SearchArgs args) {
  float* w = dynamic_shared<float>() + warp_idx() * 2 * kMostWeights;
  float* importance = w + kMostWeights;
  const int size = static_cast<int>(args.rows.group_size);
  const int64_t groups = args.weight.k / size, index = int64_t{blockIdx.x} * kWarps + warp_idx();
  if (index >= (args.rows.end - args.rows.begin) * groups) return;
  const int64_t row = index / groups, first = index % groups * size;
  bool representable = true;
  for (int j = lane_idx(); j < size; j += kWarpLanes) {
    w[j] = weight_value(args.weight, (args.rows.begin + row) * args.weight.k + first + j);
    importance[j] = args.rows.importance == nullptr ? 1.0f : args.rows.importance[first + j];
    representable = representable && fabsf(w[j]) < kLargestWeight;
  }
  __syncwarp();
  const float scale =
      best_scale(Candidates(args.rows.grid, group_shape(w, size)), w, importance, size);
  double weights_squared = 0, errors_squared = 0;
  for (int j = lane_idx(); j < size; j += kWarpLanes) {
    const float code =
        fminf(fmaxf(rintf(__fadd_rn(__fdiv_rn(w[j], scale), 0.0f)), float{kLowestCode}),
              float{kHighestCode});
    const float error = __fsub_rn(w[j], __fmul_rn(scale, code));
    weights_squared += double{w[j]} * double{w[j]};
    errors_squared += double{error} * double{error};
    args.rows.codes[row * args.weight.k + first + j] = static_cast<uint8_t>(code - kLowestCode);
  }
  if (lane_idx() == 0) args.rows.scales[index] = __half_as_ushort(__float2half_rn(scale));
  store_sums(weights_squared, errors_squared, representable, args.sums[index]);
}

}  // namespace

RtnSums search_rtn(const DenseWeight& weight, const SearchRtnRows& rows) {
  const int64_t groups = (rows.end - rows.begin) * (weight.k / rows.group_size);
  Buffer<GroupSums> of_groups(kDeviceMemory, groups);
  launch(search_groups, static_cast<unsigned>((groups + kWarps - 1) / kWarps), kThreads,
         kWarps * 2 * kMostWeights * sizeof(float), nullptr,
         SearchArgs{weight, rows, of_groups.data()});
  return add_up(of_groups);
}

}  // namespace qround::ops::cuda
