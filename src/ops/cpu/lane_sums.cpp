#include "ops/lane_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/lane_sums.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void add_products(const float* factors, const float* values, int64_t count, float* sums) {
  constexpr int64_t kVectors = kSumLanes / kLanes;
  const F32 d;
  F32Vector totals[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) totals[v] = hn::LoadU(d, sums + v * kLanes);
  for (int64_t j = 0; j < count; ++j, values += kSumLanes) {
    const auto factor = hn::Set(d, factors[j]);
    for (int64_t v = 0; v < kVectors; ++v)
      totals[v] = hn::Add(totals[v], hn::Mul(factor, hn::LoadU(d, values + v * kLanes)));
  }
  for (int64_t v = 0; v < kVectors; ++v) hn::StoreU(totals[v], d, sums + v * kLanes);
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(add_products);
}
void add_lane_products(const float* factors, const float* values, int64_t count, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_products)(factors, values, count, sums);
}
}  // namespace qround::ops::cpu
#endif
