// One weight's share of a sign step: the definition of sign_round_step.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/full_range_int4.h"
#include "ops/sign_round.h"

namespace qround::ops::ref {

struct RoundedElement {
  float weight = 0, v = 0, scale = 0;
};

// Sums over a group: dL/ds = a + b.
struct ScaleGradient {
  float a = 0;  // of D q
  float b = 0;  // of -D M w / s
};

inline bool passes_gradient(ClampRule rule, float n) {
  return rule == ClampRule::open ? n > kLowestCode && n < kHighestCode
                                 : n >= kLowestCode && n <= kHighestCode;
}

// Adds to the scale's gradient; returns the direction of v's step: -1, 0 or 1.
inline int element_step(ClampRule rule, const RoundedElement& element, float gradient,
                        ScaleGradient& of_scale) {
  const float ratio = element.weight / element.scale;
  const float n = std::nearbyintf(ratio + element.v);
  const bool passes = passes_gradient(rule, n);
  of_scale.a += gradient * std::clamp(n, float{kLowestCode}, float{kHighestCode});
  if (passes) of_scale.b -= gradient * ratio;
  if (!passes || gradient == 0 || std::isnan(gradient)) return 0;
  const int direction = (gradient > 0) == (element.scale > 0) ? -1 : 1;
  const bool outward = (n >= kHighestCode && direction > 0) || (n <= kLowestCode && direction < 0);
  return rule == ClampRule::inward && outward ? 0 : direction;
}

}  // namespace qround::ops::ref
