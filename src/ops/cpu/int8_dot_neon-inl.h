// Dot products of 64-bit ARM.
// Included once per vector target, by int8_dot-inl.h alone.
#if defined(QROUND_OPS_CPU_INT8_DOT_NEON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_INT8_DOT_NEON_INL_H_
#undef QROUND_OPS_CPU_INT8_DOT_NEON_INL_H_
#else
#define QROUND_OPS_CPU_INT8_DOT_NEON_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One instruction where the compiler may use the dot product extension (codes are small enough to
// be signed), widening products where not.
struct PlainDot {
  static constexpr bool kPends = false;

  template <size_t kSize>
  using V128 = hn::Vec128<int32_t, kSize>;

  HWY_INLINE static int32x4_t whole(int32x4_t x) { return x; }
  HWY_INLINE static int32x4_t whole(int32x2_t x) { return vcombine_s32(x, x); }
  HWY_INLINE static void keep(int32x4_t sum, int32x4_t& total) { total = sum; }
  HWY_INLINE static void keep(int32x4_t sum, int32x2_t& total) { total = vget_low_s32(sum); }

  template <size_t kSize>
  HWY_INLINE static void add(V128<kSize>& total, V128<kSize> codes, V128<kSize> inputs) {
    const int8x16_t c = vreinterpretq_s8_s32(whole(codes.raw));
    const int8x16_t i = vreinterpretq_s8_s32(whole(inputs.raw));
#if defined(__ARM_FEATURE_DOTPROD)
    keep(vdotq_s32(whole(total.raw), c, i), total.raw);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(c), vget_low_s8(i));
    const int16x8_t high = vmull_s8(vget_high_s8(c), vget_high_s8(i));
    keep(vpadalq_s16(whole(total.raw), vpaddq_s16(low, high)), total.raw);
#endif
  }
};

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
