// The rule by which a group of weights becomes signed 4-bit codes and one scale: AutoRound's
// symmetric "full range" rule. The extreme of larger magnitude is mapped to code -8, so the scale
// carries that extreme's sign and about half of all scales are negative; the other side saturates
// at +7.
//
//   a = -low * alpha                b = high * beta        low = min(w, 0), high = max(w, 0)
//   s = f16(sigma * max(a, b) / 8)  sigma = +1 if b < a, else -1
//   s is moved away from zero until |s| >= f16(1e-5); a zero of either sign becomes +f16(1e-5)
//   code = clamp(rne(w / s + v), -8, 7)
//
// With v = 0, alpha = beta = 1 this is round-to-nearest; learned rounding moves v, alpha and beta.
// All arithmetic is f32 and each step rounds once, so codes and scales equal auto-round's bit for
// bit (tests/quant/full_range_int4_test.cpp).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/half.h"

namespace qround::ops {

inline constexpr int kLowestCode = -8;
inline constexpr int kHighestCode = 7;
inline constexpr uint16_t kSmallestScale = 168;  // f16(1e-5), a subnormal: 168 * 2^-24
// Weights of this magnitude and more have no finite f16 scale.
inline constexpr float kLargestWeight = 8 * 65520.0f;

// Extremes of a group, zero included.
struct GroupRange {
  float low = 0;   // <= 0
  float high = 0;  // >= 0
};

// The scale as f16 bits. Infinite when the group's extreme exceeds 8 * 65504.
inline uint16_t full_range_scale(GroupRange range, float alpha = 1, float beta = 1) {
  const float a = -range.low * alpha;
  const float b = range.high * beta;
  const float extreme = b < a ? a : -std::max(a, b);
  const uint16_t scale = f32_to_f16(extreme / 8);
  const uint16_t magnitude = scale & 0x7FFFu;
  if (magnitude >= kSmallestScale) return scale;
  const bool negative = (scale & 0x8000u) != 0 && magnitude != 0;
  return static_cast<uint16_t>(kSmallestScale | (negative ? 0x8000u : 0u));
}

// The signed code of one weight; the stored one is larger by 8. `scale` is f16_to_f32 of the above.
inline int full_range_code(float weight, float scale, float v = 0) {
  const float rounded = std::nearbyintf(weight / scale + v);
  return static_cast<int>(std::clamp(rounded, float{kLowestCode}, float{kHighestCode}));
}

}  // namespace qround::ops
