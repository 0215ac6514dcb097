#include "ops/cpu/int8_rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/int8_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/dot_tiles-inl.h"
#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/simd_target.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using I32 = hn::RebindToSigned<F32>;
using I32Vector = hn::Vec<I32>;
constexpr int64_t kBytes = 4 * kLanes;  // codes that meet the lanes of a sum

// Products widened to 16 bits, pairs of them added in 32.
struct WidenedDot {
  // What sums begin with, so that they end as sums of products.
  HWY_INLINE static I32Vector start(float) { return hn::Zero(I32()); }

  HWY_INLINE static I32Vector add(I32Vector sum, const int8_t* w, const int8_t* x) {
#if HWY_TARGET == HWY_SCALAR
    int32_t total = 0;
    for (int64_t i = 0; i < kBytes; ++i) total += w[i] * x[i];
    return hn::Add(sum, hn::Set(I32(), total));
#else
    const hn::Repartition<int16_t, I32> words;
    const hn::Rebind<int8_t, decltype(words)> bytes;
    I32Vector other = hn::Zero(I32());
    for (int64_t half = 0; half < kBytes; half += kBytes / 2)
      sum = hn::ReorderWidenMulAccumulate(I32(), hn::PromoteTo(words, hn::LoadU(bytes, w + half)),
                                          hn::PromoteTo(words, hn::LoadU(bytes, x + half)), sum,
                                          other);
    return hn::Add(sum, other);
#endif
  }
};

#if HWY_TARGET == HWY_AVX3
// Four products an instruction, of bytes without sign and bytes with one: codes of weights grow by
// 128, and sums begin with what that adds too much. It is no part of the vector target, so it is
// written down and not left to an intrinsic, which would need compiler flags of its own.
struct VnniOffsetDot {
  HWY_INLINE static I32Vector start(float sum_of_inputs) {
    return hn::IfThenElseZero(hn::FirstN(I32(), 1),
                              hn::Set(I32(), -128 * static_cast<int32_t>(sum_of_inputs)));
  }
  HWY_INLINE static I32Vector add(I32Vector sum, const int8_t* w, const int8_t* x) {
    const hn::Repartition<int8_t, I32> bytes;
    const auto codes = hn::Xor(hn::LoadU(bytes, w), hn::Set(bytes, int8_t{-128}));
    const auto inputs = hn::LoadU(bytes, x);
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(codes.raw), "v"(inputs.raw));
    return sum;
  }
};
#endif

template <class Dot, int64_t kRows, int64_t kOutputs>
HWY_ATTR void dot_tile(const Int8Rows& p, int64_t row, int64_t output) {
  const Int8Weight& w = *p.weight;
  const Int8Inputs& x = *p.inputs;
  const int64_t groups = w.k / w.group_size;
  const int8_t* codes = w.codes + output * w.k;
  const float* scales = w.scales + output * groups;
  // The first rows of inputs bring the next rows of the weight.
  const int64_t ahead = row < p.first_row + kDotTileRows ? kOutputs * w.k : 0;
  F32Vector totals[kRows][kOutputs];
  for (auto& of_row : totals)
    for (F32Vector& total : of_row) total = hn::Zero(F32());
  for (int64_t group = 0; group < groups; ++group, codes += w.group_size) {
    const auto at = static_cast<size_t>(group * x.rows + row);
    I32Vector sums[kRows][kOutputs];
    for (int64_t r = 0; r < kRows; ++r) {
      const I32Vector start = Dot::start(x.sums[at + static_cast<size_t>(r)]);
      for (int64_t n = 0; n < kOutputs; ++n) sums[r][n] = start;
    }
    for (int64_t k = 0; k < w.group_size; k += kBytes) {
      for (int64_t n = 0; n < kOutputs; ++n) __builtin_prefetch(codes + ahead + n * w.k + k, 0, 2);
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t n = 0; n < kOutputs; ++n)
          sums[r][n] = Dot::add(sums[r][n], codes + n * w.k + k, x.codes_of(group, row + r) + k);
    }
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t n = 0; n < kOutputs; ++n) {
        const float scale = scales[n * groups + group] * x.scales[at + static_cast<size_t>(r)];
        totals[r][n] =
            hn::MulAdd(hn::ConvertTo(F32(), sums[r][n]), hn::Set(F32(), scale), totals[r][n]);
      }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t n = 0; n < kOutputs; ++n)
      p.y[(row + r) * w.n + output + n] = hn::GetLane(hn::SumOfLanes(F32(), totals[r][n]));
}

template <class Dot>
struct DotKernel {
  template <int64_t kRows, int64_t kOutputs>
  HWY_INLINE static void tile(const Int8Rows& p, int64_t row, int64_t output) {
    dot_tile<Dot, kRows, kOutputs>(p, row, output);
  }
};

template <class Dot>
HWY_ATTR void dot_all(const Int8Rows& p) {
  for_each_dot_tile<DotKernel<Dot>>(p, p.first_row, p.first_row + p.rows, p.begin, p.end);
}

HWY_ATTR void multiply_rows(const Int8Rows& p) {
#if HWY_TARGET == HWY_AVX3
  if (uses_avx512_vnni()) return dot_all<VnniOffsetDot>(p);
#endif
  dot_all<WidenedDot>(p);
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(multiply_rows);
}
void multiply_int8_rows(const Int8Rows& product) { HWY_DYNAMIC_DISPATCH(multiply_rows)(product); }
}  // namespace qround::ops::cpu
#endif
