// One pass over the weights: a group is read twice (range, then codes), the second time from L1.
// The quotient w / s is a true division: a product with 1 / s differs in the last bit often enough
// to move codes that lie halfway.
// Tested by tests/quant/full_range_int4_test.cpp against ref.
#include "ops/quantize_rtn.h"

#include <cmath>

#include "base/half.h"
#include "ops/full_range_int4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/quantize_rtn.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes: the smallest group, 32 weights, is then a whole number of vectors everywhere.
using Lanes = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Lanes>;

struct Bf16Loader {
  const uint16_t* data;
  Vector operator()(int64_t index) const {
    const hn::RebindToUnsigned<Lanes> words;
    const hn::Rebind<uint16_t, Lanes> halves;
    const auto bits = hn::PromoteTo(words, hn::LoadU(halves, data + index));
    return hn::BitCast(Lanes(), hn::ShiftLeft<16>(bits));
  }
};

struct F16Loader {
  const uint16_t* data;
  Vector operator()(int64_t index) const {
    const hn::Rebind<hwy::float16_t, Lanes> halves;
    return hn::PromoteTo(Lanes(),
                         hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(data + index)));
  }
};

struct F32Loader {
  const float* data;
  Vector operator()(int64_t index) const { return hn::LoadU(Lanes(), data + index); }
};

template <typename Loader>
GroupRange group_range(const Loader& load, int64_t first, int64_t size, float* squares) {
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto low = hn::Zero(d), high = hn::Zero(d), sum = hn::Zero(d);
  for (int64_t k = first; k < first + size; k += lanes) {
    const auto w = load(k);
    low = hn::Min(low, w);
    high = hn::Max(high, w);
    sum = hn::MulAdd(w, w, sum);
  }
  *squares = hn::GetLane(hn::SumOfLanes(d, sum));
  return {hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high))};
}

// Writes the group's codes; returns the sum of squared errors.
template <typename Loader>
float group_codes(const Loader& load, int64_t first, int64_t size, float scale, uint8_t* codes) {
  const Lanes d;
  const hn::Rebind<int32_t, Lanes> integers;
  const hn::Rebind<uint8_t, Lanes> bytes;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto s = hn::Set(d, scale);
  const auto lowest = hn::Set(d, float{kLowestCode}), highest = hn::Set(d, float{kHighestCode});
  const auto shift = hn::Set(integers, -kLowestCode);
  auto sum = hn::Zero(d);
  for (int64_t k = 0; k < size; k += lanes) {
    const auto w = load(first + k);
    const auto code = hn::Round(hn::Clamp(hn::Div(w, s), lowest, highest));
    const auto error = hn::Sub(w, hn::Mul(s, code));
    sum = hn::MulAdd(error, error, sum);
    const auto stored = hn::Add(hn::ConvertTo(integers, code), shift);
    hn::StoreU(hn::DemoteTo(bytes, stored), bytes, codes + k);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

template <typename Loader>
RtnSums quantize_loaded(const Loader& load, int64_t in, const RtnRows& rows) {
  RtnSums sums;
  uint8_t* codes = rows.codes;
  uint16_t* scales = rows.scales;
  const int64_t end = rows.end * in;
  for (int64_t first = rows.begin * in; first < end; first += rows.group_size) {
    float squares = 0;
    *scales = full_range_scale(group_range(load, first, rows.group_size, &squares));
    const float scale = f16_to_f32(*scales++);
    // Min and Max may drop a NaN, the sum of squares never does. Beyond f16's range the scale is
    // infinite long before the sum is.
    if (!std::isfinite(squares) || !std::isfinite(scale)) {
      sums.representable = false;
      return sums;
    }
    sums.weights_squared += double{squares};
    sums.errors_squared += double{group_codes(load, first, rows.group_size, scale, codes)};
    codes += rows.group_size;
  }
  return sums;
}

RtnSums quantize_rtn(const DenseWeight& weight, const RtnRows& rows) {
  switch (weight.dtype) {
    case DType::bf16:
      return quantize_loaded(Bf16Loader{static_cast<const uint16_t*>(weight.data)}, weight.k, rows);
    case DType::f16:
      return quantize_loaded(F16Loader{static_cast<const uint16_t*>(weight.data)}, weight.k, rows);
    default:
      return quantize_loaded(F32Loader{static_cast<const float*>(weight.data)}, weight.k, rows);
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(quantize_rtn);
}

RtnSums quantize_rtn(const DenseWeight& weight, const RtnRows& rows) {
  return HWY_DYNAMIC_DISPATCH(quantize_rtn)(weight, rows);
}

}  // namespace qround::ops::cpu
#endif
