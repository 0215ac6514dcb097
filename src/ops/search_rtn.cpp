#include "ops/search_rtn.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "ops/full_range_int4.h"

namespace qround::ops {
namespace {

constexpr float kMostClipping = 32, kLeastClipping = 6;  // |m| over the scale
constexpr float kLargestScale = 65280;                   // of the numbers both formats hold

// BF16 numbers of one sign are consecutive integers.
void add_bf16_scales(float extreme, std::vector<float>& candidates) {
  const float smallest = f16_to_f32(kSmallestScale);
  const float begin = std::max(extreme / kMostClipping, smallest);
  const float end = std::min(extreme / kLeastClipping, kLargestScale);
  for (uint32_t bits = f32_to_bf16(begin); bits <= f32_to_bf16(end); ++bits) {
    const float scale = bf16_to_f32(static_cast<uint16_t>(bits));
    if (scale < smallest) continue;
    candidates.push_back(scale);
    candidates.push_back(-scale);
  }
}

void add_autoround_scales(float signed_extreme, std::vector<float>& candidates) {
  constexpr int kSteps = 100;
  constexpr float kStep = 0.06f, kCodes = 8;
  const float smallest = f16_to_f32(kSmallestScale);
  for (int k = -kSteps; k <= kSteps; ++k) {
    const float scale = 1 / (-(kCodes - kStep * static_cast<float>(k)) * (1 / signed_extreme));
    if (k != 0 && std::isfinite(scale))
      candidates.push_back(std::copysign(std::max(std::fabs(scale), smallest), scale));
  }
}

}  // namespace

void scale_candidates(ScaleGrid grid, const SearchedGroup& group, std::vector<float>& candidates) {
  candidates.clear();
  const float plain = f16_to_f32(full_range_scale({group.low, group.high}));
  const float smallest = f16_to_f32(kSmallestScale);
  switch (grid) {
    case ScaleGrid::bf16:
      candidates.push_back(
          std::clamp(bf16_to_f32(f32_to_bf16(plain)), -kLargestScale, kLargestScale));
      if (group.extreme != 0) add_bf16_scales(std::fabs(group.extreme), candidates);
      return;
    case ScaleGrid::autoround: {
      const float exact = group.extreme / -8.0f;
      candidates.push_back(std::fabs(exact) >= smallest ? exact : plain);
      if (group.extreme != 0) add_autoround_scales(group.extreme, candidates);
      return;
    }
  }
}

}  // namespace qround::ops
