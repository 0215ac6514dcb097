// How vectors of stored weights become f32. Included once per vector target.
#if defined(QROUND_OPS_CPU_WEIGHT_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_WEIGHT_LOAD_INL_H_
#undef QROUND_OPS_CPU_WEIGHT_LOAD_INL_H_
#else
#define QROUND_OPS_CPU_WEIGHT_LOAD_INL_H_
#endif

#include <hwy/highway.h>

#include <bit>
#include <cassert>
#include <utility>

#include "base/half.h"
#include "ops/weight.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Tag>
HWY_INLINE hn::Vec<Tag> load_f32(Tag d, const float* from) {
  return hn::LoadU(d, from);
}
template <class Tag, class Half>
HWY_INLINE hn::Vec<Tag> load_f32(Tag d, const Half* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<Half, Tag>(), from));
}

HWY_INLINE float value_f32(float value) { return value; }
HWY_INLINE float value_f32(hwy::bfloat16_t value) { return bf16_to_f32(value.bits); }
HWY_INLINE float value_f32(hwy::float16_t value) {
  return f16_to_f32(std::bit_cast<uint16_t>(value));
}

// Calls use(pointer to typed elements).
template <class Use>
HWY_INLINE void with_elements(DType dtype, const void* data, const Use& use) {
  switch (dtype) {
    case DType::bf16:
      return use(static_cast<const hwy::bfloat16_t*>(data));
    case DType::f16:
      return use(static_cast<const hwy::float16_t*>(data));
    case DType::f32:
      return use(static_cast<const float*>(data));
    default:
      assert(false && "a dense weight is BF16, F16 or F32");
  }
}

// 1 + code / 16 of input kInput of every word: the code becomes the top of the mantissa of 1.0,
// which takes a shift and one logical instruction where a conversion to f32 takes three. Exact.
template <int kInput, class Tag>
HWY_INLINE hn::Vec<Tag> sixteenths(Tag d, hn::Vec<hn::Rebind<uint32_t, Tag>> words) {
  const hn::Rebind<uint32_t, Tag> tag;
  constexpr int kShift = 19 - 4 * kInput;
  if constexpr (kShift > 0) words = hn::ShiftLeft<kShift>(words);
  if constexpr (kShift < 0) words = hn::ShiftRight<-kShift>(words);
  return hn::BitCast(
      d, hn::OrAnd(hn::Set(tag, uint32_t{0x3F800000}), words, hn::Set(tag, uint32_t{0x00780000})));
}

// body(std::integral_constant<int, j>()) for the eight inputs of a word.
template <class Body>
HWY_INLINE void for_each_input(const Body& body) {
  [&]<int... kInputs>(std::integer_sequence<int, kInputs...>) HWY_ATTR {
    (body(std::integral_constant<int, kInputs>()), ...);
  }(std::make_integer_sequence<int, 8>());
}

// Scales and zeros of one group.
class Int4Group {
 public:
  Int4Group(const Int4Weight& weight, int64_t group)
      : scales_(reinterpret_cast<const hwy::float16_t*>(weight.scales) + group * weight.n),
        zeros_(weight.qzeros + group * ((weight.n + 7) / 8)),
        zero_offset_(static_cast<float>(weight.zero_offset)) {}

  template <class Tag>
  HWY_INLINE hn::Vec<Tag> scale(Tag d, int64_t n) const {
    return load_f32(d, scales_ + n);
  }

  // 16 + zero, by which scale * (16 * sixteenths - offset) = scale * (code - zero). n is a multiple
  // of the lanes, or Tag has one.
  template <class Tag>
  HWY_INLINE hn::Vec<Tag> offset(Tag d, int64_t n) const {
    if constexpr (hn::MaxLanes(Tag()) == 1) {
      const uint32_t stored = zeros_[n / 8] >> (4 * (n % 8)) & 15;
      return hn::Set(d, 16.0f + static_cast<float>(stored) + zero_offset_);
    } else {
      const hn::Rebind<uint32_t, Tag> words;
      auto word = hn::Set(words, zeros_[n / 8]);
      if constexpr (hn::MaxLanes(Tag()) == 16)
        word = hn::IfThenElse(hn::FirstN(words, 8), word, hn::Set(words, zeros_[n / 8 + 1]));
      // Not Iota(words, n): with a start that is no constant it goes through memory, lane by lane.
      const auto output = hn::Add(hn::Iota(words, 0), hn::Set(words, static_cast<uint32_t>(n)));
      const auto place = hn::And(output, hn::Set(words, uint32_t{7}));
      const auto stored = sixteenths<0>(d, hn::Shr(word, hn::ShiftLeft<2>(place)));
      return hn::MulAdd(stored, hn::Set(d, 16.0f), hn::Set(d, zero_offset_));
    }
  }

 private:
  const hwy::float16_t* scales_;
  const uint32_t* zeros_;
  float zero_offset_;
};

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
