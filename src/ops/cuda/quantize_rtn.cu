// A warp takes a group: 1, 2 or 4 weights a lane, in registers.
// Tested by tests/quant/full_range_int4_test.cpp.
#include "ops/cuda/rtn_sums.h"
#include "ops/cuda/weight_value.h"
#include "ops/full_range_int4.h"
#include "ops/quantize_rtn.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpLanes, kMostPerLane = 128 / kWarpLanes;

struct RoundArgs {
  DenseWeight weight;
  RtnRows rows;
  GroupSums* sums;
};

__device__ float warp_min(float value) { return -warp_max(-value); }

// full_range_scale.
__device__ uint16_t scale_bits(float low, float high) {
  const float extreme = high < -low ? -low : -fmaxf(-low, high);
  const uint16_t scale = __half_as_ushort(__float2half_rn(extreme / 8));
  const unsigned magnitude = scale & 0x7FFFu;
  if (magnitude >= kSmallestScale) return scale;
  const bool negative = (scale & 0x8000u) != 0 && magnitude != 0;
  return static_cast<uint16_t>(kSmallestScale | (negative ? 0x8000u : 0u));
}

__global__ void round_groups(RoundArgs args) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const auto size = static_cast<int>(args.rows.group_size);
  const int64_t groups = args.weight.k / size;
  const int64_t index = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpLanes;
  if (index >= (args.rows.end - args.rows.begin) * groups) return;
  const int64_t first = args.rows.begin * args.weight.k + index * size;
  float w[kMostPerLane]{};
  float low = 0, high = 0;
  bool representable = true;
#pragma unroll
  for (int i = 0; i < kMostPerLane; ++i) {
    if (i * kWarpLanes >= size) break;
    w[i] = weight_value(args.weight, first + i * kWarpLanes + lane);
    low = fminf(low, w[i]);
    high = fmaxf(high, w[i]);
    representable = representable && fabsf(w[i]) < kLargestWeight;
  }
  const uint16_t bits = scale_bits(warp_min(low), warp_max(high));
  const float scale = f16_value(bits);
  double weights_squared = 0, errors_squared = 0;
#pragma unroll
  for (int i = 0; i < kMostPerLane; ++i) {
    if (i * kWarpLanes >= size) break;
    const float code =
        fminf(fmaxf(rintf(__fadd_rn(__fdiv_rn(w[i], scale), 0.0f)), float{kLowestCode}),
              float{kHighestCode});
    const float error = __fsub_rn(w[i], __fmul_rn(scale, code));
    weights_squared += double{w[i]} * double{w[i]};
    errors_squared += double{error} * double{error};
    args.rows.codes[index * size + i * kWarpLanes + lane] =
        static_cast<uint8_t>(code - kLowestCode);
  }
  if (lane == 0) args.rows.scales[index] = bits;
  store_sums(weights_squared, errors_squared, representable, args.sums[index]);
}

}  // namespace

RtnSums quantize_rtn(const DenseWeight& weight, const RtnRows& rows) {
  const int64_t groups = (rows.end - rows.begin) * (weight.k / rows.group_size);
  Buffer<GroupSums> of_groups(kDeviceMemory, groups);
  launch(round_groups, static_cast<unsigned>((groups + kWarps - 1) / kWarps), kThreads, 0, nullptr,
         RoundArgs{weight, rows, of_groups.data()});
  return add_up(of_groups);
}

}  // namespace qround::ops::cuda
