// Elementwise mathematics on f32 vectors. Included once per vector target.
#if defined(QROUND_OPS_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_VECTOR_MATH_INL_H_
#undef QROUND_OPS_CPU_VECTOR_MATH_INL_H_
#else
#define QROUND_OPS_CPU_VECTOR_MATH_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^x within a few units in the last place for every x: Highway's ends at 104 and makes 0 of NaN.
template <class Tag, class V>
HWY_INLINE V exponential(Tag d, V x) {
  const V result = hn::Exp(d, hn::Min(x, hn::Set(d, 104.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

template <class Tag, class V>
HWY_INLINE V sigmoid(Tag d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exponential(d, hn::Neg(x))));
}

template <class Tag, class V>
HWY_INLINE V silu(Tag d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exponential(d, hn::Neg(x))));
}

// body(tag, index) for whole vectors, then for what is left one by one: each element is computed in
// the same way wherever it stands.
template <class Body>
HWY_INLINE void for_each_vector(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(F32(), i);
  for (; i < count; ++i) body(OneF32(), i);
}

// Sum over i of value(tag, i), in four chains.
template <class Value>
HWY_INLINE float sum_of_vectors(int64_t count, const Value& value) {
  const F32 d;
  F32Vector sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    for (int64_t v = 0; v < 4; ++v) sums[v] = hn::Add(sums[v], value(d, i + v * kLanes));
  for (; i + kLanes <= count; i += kLanes) sums[0] = hn::Add(sums[0], value(d, i));
  const F32Vector sum = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += hn::GetLane(value(OneF32(), i));
  return total;
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
