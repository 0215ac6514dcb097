// The scale of one group under tuned factors, and where its gradient goes. Shared by all versions
// of sign_round.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "ops/full_range_int4.h"
#include "ops/sign_round.h"

namespace qround::ops {

// As full_range_scale, rounded to a value of BF16 where the rule asks for it. BF16's values within
// F16's normal range and down to the smallest scale are exact in F16.
inline uint16_t sign_round_scale(GroupRange range, float alpha, float beta,
                                 const SignRoundRule& rule) {
  const uint16_t scale = full_range_scale(range, alpha, beta);
  return rule.bf16_scales ? f32_to_f16(bf16_to_f32(f32_to_bf16(f16_to_f32(scale)))) : scale;
}

// dL/ds from its two parts: A = sum of D q, B = -sum of D M w / s.
inline float scale_gradient(float a, float b, const SignRoundRule& rule) {
  if (!rule.f16_scale_gradient) return a + b;
  return f16_to_f32(f32_to_f16(f16_to_f32(f32_to_f16(a)) + f16_to_f32(f32_to_f16(b))));
}

// Moves alpha and beta of a group against the sign of dL/ds.
inline void step_factors(GroupRange range, float gradient, const SignRoundRule& rule, float step,
                         float& alpha, float& beta) {
  const float a = -range.low * alpha, b = range.high * beta;
  const float magnitude = std::abs(f16_to_f32(f32_to_f16(std::max(a, b) / 8)));
  const float smallest = f16_to_f32(kSmallestScale);
  const bool held = rule.clamp == ClampRule::open ? magnitude <= smallest : magnitude < smallest;
  if (held || gradient == 0 || std::isnan(gradient)) return;
  const float direction = gradient > 0 ? step : -step;
  const auto move = [&](float& factor, float change) {
    factor = std::clamp(factor - change, 0.0f, rule.max_factor);
  };
  if (b < a) {
    move(alpha, direction);
  } else {
    if (a == b && range.low != 0) move(alpha, -direction);
    move(beta, -direction);
  }
}

}  // namespace qround::ops
