#include "ops/cpu/dense_rows.h"

#include <type_traits>

#include "base/half.h"
#include "ops/cpu/bf16_pairs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/dense_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/dot_tiles-inl.h"
#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/product_arithmetic-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Factors as f32: Element is how weights are stored.
template <class Element>
struct F32Factors {
  using Weight = Element;
  using Arithmetic = F32Arithmetic;
  static constexpr int64_t kStep = kLanes;  // inputs in a vector

  static const float* row_of_x(const DenseRows& p, int64_t row) { return p.x + row * p.x_stride; }
  HWY_INLINE static auto load_weights(const Element* from) { return load_f32(F32(), from); }
  HWY_INLINE static auto load_inputs(const float* x, int64_t k) {
    return Arithmetic::load(F32(), x + k);
  }
  static float product(const float* x, const Element* w, int64_t k) {
    return x[k] * value_f32(w[k]);
  }
};

// Both factors in BF16 pairs.
template <class OfPairs>
struct PairFactors {
  using Weight = uint16_t;
  using Arithmetic = OfPairs;
  static constexpr int64_t kStep = 2 * kLanes;

  static const uint32_t* row_of_x(const DenseRows& p, int64_t row) {
    return p.x_pairs + row * pairs(p.depth);
  }
  HWY_INLINE static auto load_weights(const uint16_t* from) {
    return Arithmetic::of_pairs(F32(), load_halves(F32(), from));
  }
  HWY_INLINE static auto load_inputs(const uint32_t* x, int64_t k) {
    return Arithmetic::load(F32(), x + k / 2);
  }
  static float product(const uint32_t* x, const uint16_t* w, int64_t k) {
    const auto half = static_cast<uint16_t>(k % 2 == 0 ? x[k / 2] : x[k / 2] >> 16);
    return bf16_to_f32(half) * bf16_to_f32(w[k]);
  }
};

template <class Factors, int64_t kRows, int64_t kOutputs>
HWY_ATTR void dot_tile(const DenseRows& p, int64_t row, int64_t output) {
  using Arithmetic = typename Factors::Arithmetic;
  const F32 d;
  const auto* HWY_RESTRICT w =
      static_cast<const typename Factors::Weight*>(p.w) + output * p.w_stride;
  F32Vector sums[kRows][kOutputs];
  for (auto& of_row : sums)
    for (F32Vector& sum : of_row) sum = hn::Zero(d);
  // The first rows of x bring the next rows of W.
  const int64_t ahead = row < kDotTileRows ? kOutputs * p.w_stride : 0;
  int64_t k = 0;
  for (; k + Factors::kStep <= p.depth; k += Factors::kStep) {
    typename Arithmetic::template Operand<F32> weights[kOutputs];
    for (int64_t n = 0; n < kOutputs; ++n) {
      __builtin_prefetch(w + ahead + n * p.w_stride + k, 0, 2);
      weights[n] = Factors::load_weights(w + n * p.w_stride + k);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const auto input = Factors::load_inputs(Factors::row_of_x(p, row + r), k);
      for (int64_t n = 0; n < kOutputs; ++n)
        sums[r][n] = Arithmetic::add(sums[r][n], input, weights[n]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t n = 0; n < kOutputs; ++n) {
      float total = hn::GetLane(hn::SumOfLanes(d, sums[r][n]));
      for (int64_t i = k; i < p.depth; ++i)
        total += Factors::product(Factors::row_of_x(p, row + r), w + n * p.w_stride, i);
      p.y[(row + r) * p.y_stride + output + n] = total;
    }
}

template <class Factors>
struct DotKernel {
  template <int64_t kRows, int64_t kOutputs>
  HWY_INLINE static void tile(const DenseRows& p, int64_t row, int64_t output) {
    dot_tile<Factors, kRows, kOutputs>(p, row, output);
  }
};

template <class Factors>
HWY_ATTR void dot_all(const DenseRows& p) {
  for_each_dot_tile<DotKernel<Factors>>(p, 0, p.rows, 0, p.outputs);
}

HWY_ATTR void multiply_dense_rows(const DenseRows& p) {
  if (p.x_pairs != nullptr)
    return with_pair_arithmetic([&](auto arithmetic)
                                    HWY_ATTR { dot_all<PairFactors<decltype(arithmetic)>>(p); });
  with_elements(p.dtype, p.w, [&](const auto* w) HWY_ATTR {
    dot_all<F32Factors<std::remove_cvref_t<decltype(*w)>>>(p);
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(multiply_dense_rows);
}
void multiply_dense_rows(const DenseRows& product) {
  HWY_DYNAMIC_DISPATCH(multiply_dense_rows)(product);
}
}  // namespace qround::ops::cpu
#endif
