// Dot products in 32-bit arithmetic, for processors without anything better.
// Included once per vector target, by int8_dot-inl.h alone.
#if defined(QROUND_OPS_CPU_INT8_DOT_PORTABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_INT8_DOT_PORTABLE_INL_H_
#undef QROUND_OPS_CPU_INT8_DOT_PORTABLE_INL_H_
#else
#define QROUND_OPS_CPU_INT8_DOT_PORTABLE_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct PlainDot {
  static constexpr bool kPends = false;

  template <int kByte, class Vector>
  HWY_INLINE static Vector byte(Vector x) {
    return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(x));
  }
  template <class Vector>
  HWY_INLINE static void add(Vector& total, Vector codes, Vector inputs) {
    total = hn::Add(total, hn::Mul(byte<0>(codes), byte<0>(inputs)));
    total = hn::Add(total, hn::Mul(byte<1>(codes), byte<1>(inputs)));
    total = hn::Add(total, hn::Mul(byte<2>(codes), byte<2>(inputs)));
    total = hn::Add(total, hn::Mul(byte<3>(codes), byte<3>(inputs)));
  }
};

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
