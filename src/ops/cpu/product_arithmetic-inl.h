// Arithmetic of matrix products: how an element of x and a vector of elements of B add to f32 sums.
// An element is an f32 or a pair of BF16 numbers, the lower half the one with the smaller k.
// Included once per vector target.
#if defined(QROUND_OPS_CPU_PRODUCT_ARITHMETIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_PRODUCT_ARITHMETIC_INL_H_
#undef QROUND_OPS_CPU_PRODUCT_ARITHMETIC_INL_H_
#else
#define QROUND_OPS_CPU_PRODUCT_ARITHMETIC_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "ops/cpu/simd_target.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Pairs from BF16 numbers, which may begin at any of them.
template <class Tag>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, Tag>> load_halves(Tag, const uint16_t* from) {
  const hn::Rebind<uint32_t, Tag> words;
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(words, from[0] | uint32_t{from[1]} << 16);
#else
  const hn::Repartition<uint16_t, decltype(words)> halves;
  return hn::BitCast(words, hn::LoadU(halves, from));
#endif
}

struct F32Arithmetic {
  using Element = float;
  template <class Tag>
  using Operand = hn::Vec<Tag>;

  template <class Tag>
  HWY_INLINE static Operand<Tag> load(Tag d, const float* from) {
    return hn::LoadU(d, from);
  }
  template <class Tag>
  HWY_INLINE static Operand<Tag> broadcast(Tag d, float value) {
    return hn::Set(d, value);
  }
  template <class Vector>
  HWY_INLINE static Vector add(Vector sum, Vector x, Vector b) {
    return hn::MulAdd(x, b, sum);
  }
};

// Halves widened to f32, two multiply-adds.
struct PairArithmetic {
  using Element = uint32_t;
  template <class Tag>
  struct Operand {
    hn::Vec<Tag> first, second;
  };

  template <class Tag>
  HWY_INLINE static Operand<Tag> of_pairs(Tag d, hn::Vec<hn::Rebind<uint32_t, Tag>> pairs) {
    const hn::Rebind<uint32_t, Tag> words;
    return {hn::BitCast(d, hn::ShiftLeft<16>(pairs)),
            hn::BitCast(d, hn::And(pairs, hn::Set(words, 0xFFFF0000u)))};
  }
  template <class Tag>
  HWY_INLINE static Operand<Tag> load(Tag d, const uint32_t* from) {
    return of_pairs(d, hn::LoadU(hn::Rebind<uint32_t, Tag>(), from));
  }
  template <class Tag>
  HWY_INLINE static Operand<Tag> broadcast(Tag d, uint32_t pair) {
    return of_pairs(d, hn::Set(hn::Rebind<uint32_t, Tag>(), pair));
  }
  template <class Vector, class Pairs>
  HWY_INLINE static Vector add(Vector sum, const Pairs& x, const Pairs& b) {
    return hn::MulAdd(x.first, b.first, hn::MulAdd(x.second, b.second, sum));
  }
};

#if HWY_TARGET == HWY_AVX3
// One instruction for both. It is no part of the vector target, so it is written down and not left
// to an intrinsic, which would need compiler flags of its own.
struct Avx512PairArithmetic {
  using Element = uint32_t;
  template <class Tag>
  using Operand = hn::Vec<hn::Rebind<uint32_t, Tag>>;

  template <class Tag>
  HWY_INLINE static Operand<Tag> of_pairs(Tag, Operand<Tag> pairs) {
    return pairs;
  }
  template <class Tag>
  HWY_INLINE static Operand<Tag> load(Tag, const uint32_t* from) {
    return hn::LoadU(hn::Rebind<uint32_t, Tag>(), from);
  }
  template <class Tag>
  HWY_INLINE static Operand<Tag> broadcast(Tag, uint32_t pair) {
    return hn::Set(hn::Rebind<uint32_t, Tag>(), pair);
  }
  template <class Vector, class Pairs>
  HWY_INLINE static Vector add(Vector sum, Pairs x, Pairs b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(b.raw));
    return sum;
  }
};
#endif

// Calls body(arithmetic of pairs) with the best instructions of this processor.
template <class Body>
HWY_INLINE void with_pair_arithmetic(const Body& body) {
#if HWY_TARGET == HWY_AVX3
  if (uses_avx512_bf16()) return body(Avx512PairArithmetic());
#endif
  body(PairArithmetic());
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
