// A group of weights under learned rounding, held by some lanes of a warp, four neighbours each:
// its scale, its codes and its sign step. The arithmetic of sign_round_scale.h and
// ref/sign_round_element.h, each operation rounded as there: no product is contracted into a sum,
// so that codes and signs equal the definition's.
#pragma once

#include "ops/cuda/reduce.h"
#include "ops/cuda/weight_value.h"
#include "ops/full_range_int4.h"
#include "ops/sign_round.h"

namespace qround::ops::cuda {

inline constexpr int kWeightsPerLane = 4;

// Sums and extremes over the `lanes` neighbouring lanes that share a group.
__device__ inline float group_sum(float value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}
__device__ inline float group_min(float value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    value = fminf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

__device__ inline float round_to_f16(float value) { return __half2float(__float2half_rn(value)); }

class SignRoundGroup {
 public:
  // By all lanes of a warp. w: this lane's weights.
  __device__ SignRoundGroup(const SignRoundRule& rule, const float (&w)[kWeightsPerLane], int lanes)
      : rule_(rule), lanes_(lanes) {
    float low = 0, high = 0;
    for (int i = 0; i < kWeightsPerLane; ++i) {
      w_[i] = w[i];
      low = fminf(low, w[i]);
      high = fmaxf(high, w[i]);
    }
    low_ = group_min(low, lanes);
    high_ = -group_min(-high, lanes);
  }

  // ops::sign_round_scale.
  __device__ uint16_t scale_bits(float alpha, float beta) const {
    const float a = __fmul_rn(-low_, alpha), b = __fmul_rn(high_, beta);
    const float extreme = b < a ? a : -fmaxf(a, b);
    uint16_t scale = __half_as_ushort(__float2half_rn(extreme / 8));
    const unsigned magnitude = scale & 0x7FFFu;
    if (magnitude < kSmallestScale) {
      const bool negative = (scale & 0x8000u) != 0 && magnitude != 0;
      scale = static_cast<uint16_t>(kSmallestScale | (negative ? 0x8000u : 0u));
    }
    if (rule_.bf16_scales)
      scale = __half_as_ushort(__float2half_rn(from_bf16(to_bf16(f16_value(scale)))));
    return scale;
  }

  // The signed code of weight i.
  __device__ float code(int i, int16_t v, float scale) const {
    const float rounded = rintf(__fadd_rn(__fdiv_rn(w_[i], scale), units_to_v(v)));
    // Adding zero turns -0 into +0, as the definition's integer codes have it.
    return fminf(fmaxf(rounded, float{kLowestCode}), float{kHighestCode}) + 0.0f;
  }

  // One sign step of the lane's v and of the group's alpha and beta; by all lanes of a warp.
  __device__ void step(const float (&gradient)[kWeightsPerLane], const SignRoundStepSizes& sizes,
                       int16_t (&v)[kWeightsPerLane], float& alpha, float& beta) const {
    const float scale = f16_value(scale_bits(alpha, beta));
    float of_codes = 0, of_weights = 0;
    for (int i = 0; i < kWeightsPerLane; ++i) {
      const float ratio = __fdiv_rn(w_[i], scale);
      const float n = rintf(__fadd_rn(ratio, units_to_v(v[i])));
      of_codes += gradient[i] * fminf(fmaxf(n, float{kLowestCode}), float{kHighestCode});
      if (passes_gradient(n)) of_weights -= gradient[i] * ratio;
      v[i] = static_cast<int16_t>(v[i] + direction(n, gradient[i], scale) * sizes.v_units);
    }
    of_codes = group_sum(of_codes, lanes_);
    of_weights = group_sum(of_weights, lanes_);
    step_factors(scale_gradient(of_codes, of_weights), sizes.factor_step, alpha, beta);
  }

 private:
  __device__ float units_to_v(int16_t units) const {
    return __fmul_rn(static_cast<float>(units), rule_.v_unit);
  }

  __device__ bool passes_gradient(float n) const {
    return rule_.clamp == ClampRule::open ? n > kLowestCode && n < kHighestCode
                                          : n >= kLowestCode && n <= kHighestCode;
  }

  __device__ int direction(float n, float gradient, float scale) const {
    if (!passes_gradient(n) || gradient == 0 || gradient != gradient) return 0;
    const int against = (gradient > 0) == (scale > 0) ? -1 : 1;
    const bool outward = (n >= kHighestCode && against > 0) || (n <= kLowestCode && against < 0);
    return rule_.clamp == ClampRule::inward && outward ? 0 : against;
  }

  __device__ float scale_gradient(float a, float b) const {
    if (!rule_.f16_scale_gradient) return a + b;
    return round_to_f16(round_to_f16(a) + round_to_f16(b));
  }

  // ops::step_factors.
  __device__ void step_factors(float gradient, float size, float& alpha, float& beta) const {
    const float a = __fmul_rn(-low_, alpha), b = __fmul_rn(high_, beta);
    const float magnitude = fabsf(round_to_f16(fmaxf(a, b) / 8));
    const float smallest = f16_value(kSmallestScale);
    const bool held = rule_.clamp == ClampRule::open ? magnitude <= smallest : magnitude < smallest;
    if (held || gradient == 0 || gradient != gradient) return;
    const float change = gradient > 0 ? size : -size;
    if (b < a) {
      alpha = moved(alpha, -change);
    } else {
      if (a == b && low_ != 0) alpha = moved(alpha, change);
      beta = moved(beta, change);
    }
  }

  __device__ float moved(float factor, float change) const {
    return fminf(fmaxf(__fadd_rn(factor, change), 0.0f), rule_.max_factor);
  }

  SignRoundRule rule_;
  int lanes_;
  float w_[kWeightsPerLane];
  float low_, high_;
};

}  // namespace qround::ops::cuda
