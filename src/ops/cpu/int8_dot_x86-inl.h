// Dot products of SSSE3, AVX2, AVX-512 and AVX-512 VNNI.
// Included once per vector target, by int8_dot-inl.h alone.
#if defined(QROUND_OPS_CPU_INT8_DOT_X86_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_INT8_DOT_X86_INL_H_
#undef QROUND_OPS_CPU_INT8_DOT_X86_INL_H_
#else
#define QROUND_OPS_CPU_INT8_DOT_X86_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Pairs of products are summed in 16 bits, where eight pairs of 15 * 127 fit, and widened when they
// settle.
struct PlainDot {
  static constexpr bool kPends = true;

  template <size_t kSize>
  using V128 = hn::Vec128<int32_t, kSize>;

  template <size_t kSize>
  HWY_INLINE static void add(V128<kSize>&, V128<kSize>& pending, V128<kSize> codes,
                             V128<kSize> inputs) {
    pending.raw = _mm_add_epi16(pending.raw, _mm_maddubs_epi16(codes.raw, inputs.raw));
  }
  template <size_t kSize>
  HWY_INLINE static void settle(V128<kSize>& total, V128<kSize>& pending) {
    total.raw = _mm_add_epi32(total.raw, _mm_madd_epi16(pending.raw, _mm_set1_epi16(1)));
    pending.raw = _mm_setzero_si128();
  }

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  using V256 = hn::Vec256<int32_t>;

  HWY_INLINE static void add(V256&, V256& pending, V256 codes, V256 inputs) {
    pending.raw = _mm256_add_epi16(pending.raw, _mm256_maddubs_epi16(codes.raw, inputs.raw));
  }
  HWY_INLINE static void settle(V256& total, V256& pending) {
    total.raw = _mm256_add_epi32(total.raw, _mm256_madd_epi16(pending.raw, _mm256_set1_epi16(1)));
    pending.raw = _mm256_setzero_si256();
  }
#endif

#if HWY_TARGET == HWY_AVX3
  using V512 = hn::Vec512<int32_t>;

  HWY_INLINE static void add(V512&, V512& pending, V512 codes, V512 inputs) {
    pending.raw = _mm512_add_epi16(pending.raw, _mm512_maddubs_epi16(codes.raw, inputs.raw));
  }
  HWY_INLINE static void settle(V512& total, V512& pending) {
    total.raw = _mm512_add_epi32(total.raw, _mm512_madd_epi16(pending.raw, _mm512_set1_epi16(1)));
    pending.raw = _mm512_setzero_si512();
  }
#endif
};

#if HWY_TARGET == HWY_AVX3
// One instruction adds all four products to the 32-bit sums. It is no part of the vector target, so
// it is written down and not left to an intrinsic, which would need compiler flags of its own.
struct VnniDot {
  static constexpr bool kPends = false;

  template <class Vector>
  HWY_INLINE static void add(Vector& total, Vector codes, Vector inputs) {
    asm("vpdpbusd %2, %1, %0" : "+v"(total.raw) : "v"(codes.raw), "v"(inputs.raw));
  }
};
#endif

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
