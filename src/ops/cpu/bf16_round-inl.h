// f32 vectors rounded to BF16. Included once per vector target.
#if defined(QROUND_OPS_CPU_BF16_ROUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_BF16_ROUND_INL_H_
#undef QROUND_OPS_CPU_BF16_ROUND_INL_H_
#else
#define QROUND_OPS_CPU_BF16_ROUND_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The bits of the BF16 number nearest to each lane, ties to even, in the upper half of a word whose
// lower half is zero. Highway's own demotion truncates.
template <class Tag>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, Tag>> round_to_bf16(Tag, hn::Vec<Tag> values) {
  const hn::Rebind<uint32_t, Tag> words;
  const auto bits = hn::BitCast(words, values);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFFu)));
  // The payload of a NaN must not carry into its exponent.
  const auto is_nan = hn::RebindMask(words, hn::IsNaN(values));
  const auto quiet = hn::Set(words, 0x7FC00000u);
  return hn::And(hn::IfThenElse(is_nan, quiet, rounded), hn::Set(words, 0xFFFF0000u));
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
