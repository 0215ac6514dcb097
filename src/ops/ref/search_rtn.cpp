#include "ops/search_rtn.h"

#include <cmath>

#include "base/half.h"
#include "ops/full_range_int4.h"
#include "ops/ref/weight_value.h"

namespace qround::ops::ref {
namespace {

struct Group {
  std::vector<float> weights, importance;  // [G]
};

SearchedGroup shape_of(const Group& group) {
  SearchedGroup shape;
  for (const float w : group.weights) {
    shape.low = std::min(shape.low, w);
    shape.high = std::max(shape.high, w);
    if (std::fabs(w) > std::fabs(shape.extreme)) shape.extreme = w;
  }
  return shape;
}

float weighted_error(const Group& group, float scale) {
  const float inverse = 1 / scale;
  float sum = 0;
  for (size_t j = 0; j < group.weights.size(); ++j) {
    const float w = group.weights[j];
    const float code =
        std::nearbyint(std::clamp(w * inverse, float{kLowestCode}, float{kHighestCode}));
    const float error = std::fma(-scale, code, w);
    sum = std::fma(group.importance[j] * error, error, sum);
  }
  return sum;
}

}  // namespace

RtnSums search_rtn(const DenseWeight& weight, const SearchRtnRows& rows) {
  RtnSums sums;
  uint8_t* codes = rows.codes;
  uint16_t* scales = rows.scales;
  const auto size = static_cast<size_t>(rows.group_size);
  Group group{std::vector<float>(size), std::vector<float>(size, 1.0f)};
  std::vector<float> candidates;
  for (int64_t n = rows.begin; n < rows.end; ++n) {
    for (int64_t first = 0; first < weight.k; first += rows.group_size) {
      for (size_t j = 0; j < size; ++j) {
        const int64_t k = first + static_cast<int64_t>(j);
        group.weights[j] = weight_value(weight, n, k);
        if (rows.importance != nullptr) group.importance[j] = rows.importance[k];
        if (!(std::fabs(group.weights[j]) < kLargestWeight)) sums.representable = false;
      }
      if (!sums.representable) return sums;
      scale_candidates(rows.grid, shape_of(group), candidates);
      float best = candidates.front(), best_error = weighted_error(group, best);
      for (const float scale : candidates) {
        const float error = weighted_error(group, scale);
        if (!(error < best_error)) continue;
        best = scale;
        best_error = error;
      }
      *scales++ = f32_to_f16(best);
      for (const float w : group.weights) {
        const int code = full_range_code(w, best);
        const float error = w - best * static_cast<float>(code);
        sums.weights_squared += double{w} * double{w};
        sums.errors_squared += double{error} * double{error};
        *codes++ = static_cast<uint8_t>(code - kLowestCode);
      }
    }
  }
  return sums;
}

}  // namespace qround::ops::ref
