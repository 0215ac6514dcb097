// The lanes of a vector are scales, not weights: each lane sums its own error over the group in the
// order of inputs, so no sum is ever reduced across lanes and every vector width gives the same
// bits. Several vectors go through the weights together, because a chain of multiply-adds alone
// would wait for itself.
// Tested by tests/ops/search_rtn_test.cpp against ref.
#include "ops/search_rtn.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "ops/full_range_int4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/search_rtn.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// Highway's order: after its own header.
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<float, 16>;

// Scales are padded to whole strides with copies of the last one.
constexpr size_t kVectors = 4;

struct Scratch {
  std::vector<float> weights, ones;  // [G]
  std::vector<float> candidates, errors;
};

SearchedGroup shape_of(const std::vector<float>& weights) {
  SearchedGroup shape;
  for (const float w : weights) {
    shape.low = std::min(shape.low, w);
    shape.high = std::max(shape.high, w);
    if (std::fabs(w) > std::fabs(shape.extreme)) shape.extreme = w;
  }
  return shape;
}

// Errors of kVectors vectors of scales.
HWY_INLINE void weighted_errors(const std::vector<float>& weights, const float* importance,
                                const float* scales, float* errors) {
  const Lanes d;
  const size_t lanes = hn::Lanes(d);
  const auto lowest = hn::Set(d, float{kLowestCode}), highest = hn::Set(d, float{kHighestCode});
  const auto one = hn::Set(d, 1.0f);
  const auto s0 = hn::LoadU(d, scales), s1 = hn::LoadU(d, scales + lanes);
  const auto s2 = hn::LoadU(d, scales + 2 * lanes), s3 = hn::LoadU(d, scales + 3 * lanes);
  const auto r0 = hn::Div(one, s0), r1 = hn::Div(one, s1);
  const auto r2 = hn::Div(one, s2), r3 = hn::Div(one, s3);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  for (size_t j = 0; j < weights.size(); ++j) {
    const auto w = hn::Set(d, weights[j]), importance_j = hn::Set(d, importance[j]);
    const auto add = [&](auto s, auto r, auto sum) HWY_ATTR {
      const auto code = hn::Round(hn::Clamp(hn::Mul(w, r), lowest, highest));
      const auto error = hn::NegMulAdd(s, code, w);
      return hn::MulAdd(hn::Mul(importance_j, error), error, sum);
    };
    sum0 = add(s0, r0, sum0);
    sum1 = add(s1, r1, sum1);
    sum2 = add(s2, r2, sum2);
    sum3 = add(s3, r3, sum3);
  }
  hn::StoreU(sum0, d, errors);
  hn::StoreU(sum1, d, errors + lanes);
  hn::StoreU(sum2, d, errors + 2 * lanes);
  hn::StoreU(sum3, d, errors + 3 * lanes);
}

float best_scale(const std::vector<float>& weights, const float* importance, Scratch& scratch) {
  const size_t stride = kVectors * hn::Lanes(Lanes());
  std::vector<float>& candidates = scratch.candidates;
  const size_t count = candidates.size();
  candidates.resize((count + stride - 1) / stride * stride, candidates.back());
  scratch.errors.resize(candidates.size());
  for (size_t i = 0; i < count; i += stride)
    weighted_errors(weights, importance, candidates.data() + i, scratch.errors.data() + i);
  const auto best = std::min_element(scratch.errors.begin(),
                                     scratch.errors.begin() + static_cast<std::ptrdiff_t>(count));
  return candidates[static_cast<size_t>(best - scratch.errors.begin())];
}

// Codes of a group and its part of the sums.
void write_codes(const std::vector<float>& weights, float scale, uint8_t* codes, RtnSums& sums) {
  for (size_t j = 0; j < weights.size(); ++j) {
    const int code = full_range_code(weights[j], scale);
    const float error = weights[j] - scale * static_cast<float>(code);
    sums.weights_squared += double{weights[j]} * double{weights[j]};
    sums.errors_squared += double{error} * double{error};
    codes[j] = static_cast<uint8_t>(code - kLowestCode);
  }
}

RtnSums search_rtn(const DenseWeight& weight, const SearchRtnRows& rows) {
  RtnSums sums;
  const auto size = static_cast<size_t>(rows.group_size);
  Scratch scratch{std::vector<float>(size), std::vector<float>(size, 1.0f), {}, {}};
  uint8_t* codes = rows.codes;
  uint16_t* scales = rows.scales;
  with_elements(weight.dtype, weight.data, [&](const auto* elements) {
    for (int64_t first = rows.begin * weight.k; first < rows.end * weight.k;
         first += rows.group_size) {
      for (size_t j = 0; j < size; ++j) {
        scratch.weights[j] = value_f32(elements[first + static_cast<int64_t>(j)]);
        if (!(std::fabs(scratch.weights[j]) < kLargestWeight)) sums.representable = false;
      }
      if (!sums.representable) return;
      const float* importance =
          rows.importance == nullptr ? scratch.ones.data() : rows.importance + first % weight.k;
      scale_candidates(rows.grid, shape_of(scratch.weights), scratch.candidates);
      const float scale = best_scale(scratch.weights, importance, scratch);
      *scales++ = f32_to_f16(scale);
      write_codes(scratch.weights, scale, codes, sums);
      codes += rows.group_size;
    }
  });
  return sums;
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(search_rtn);
}

RtnSums search_rtn(const DenseWeight& weight, const SearchRtnRows& rows) {
  return HWY_DYNAMIC_DISPATCH(search_rtn)(weight, rows);
}

}  // namespace qround::ops::cpu
#endif
