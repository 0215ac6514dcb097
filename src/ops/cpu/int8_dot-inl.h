// Sums of products of unsigned 4-bit codes and signed 8-bit inputs, four to a 32-bit lane. What
// differs between processors stands in one file for each. Included once per vector target.
#if defined(QROUND_OPS_CPU_INT8_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_INT8_DOT_INL_H_
#undef QROUND_OPS_CPU_INT8_DOT_INL_H_
#else
#define QROUND_OPS_CPU_INT8_DOT_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "ops/cpu/simd_target.h"

#if HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_AVX3
#include "ops/cpu/int8_dot_x86-inl.h"
#elif HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64
#include "ops/cpu/int8_dot_neon-inl.h"
#else
#include "ops/cpu/int8_dot_portable-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One sum for each lane of Tag (int32_t), by the instructions of Dot: PlainDot or another that
// with_int8_dot names. After at most kAddsPerSettle calls of add comes a settle.
template <class Dot, class Tag>
class DotSums {
 public:
  using Vector = hn::Vec<Tag>;
  static constexpr int kAddsPerSettle = 8;

  // Without a value, so that arrays of sums need no loop of constructors, which keeps them in
  // memory.
  DotSums() = default;
  HWY_INLINE explicit DotSums(Vector start) : total_(start) {
    if constexpr (Dot::kPends) pending_ = hn::Zero(Tag());
  }

  // Lane i grows by the sum over j < 4 of byte 4i + j of codes (0 .. 15) times that of inputs
  // (-127 .. 127).
  HWY_INLINE void add(Vector codes, Vector inputs) {
    if constexpr (Dot::kPends) {
      Dot::add(total_, pending_, codes, inputs);
    } else {
      Dot::add(total_, codes, inputs);
    }
  }
  HWY_INLINE void settle() {
    if constexpr (Dot::kPends) Dot::settle(total_, pending_);
  }
  HWY_INLINE Vector total() const { return total_; }

 private:
  struct Nothing {};
  Vector total_;
  [[no_unique_address]] std::conditional_t<Dot::kPends, Vector, Nothing> pending_;
};

// Calls body(Dot()) with the best instructions of this processor.
template <class Body>
HWY_INLINE void with_int8_dot(const Body& body) {
#if HWY_TARGET == HWY_AVX3
  if (uses_avx512_vnni()) return body(VnniDot());
#endif
  body(PlainDot());
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
