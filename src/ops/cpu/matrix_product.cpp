#include "ops/cpu/matrix_product.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/matrix_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/product_arithmetic-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: 6 x 4 accumulators where there are 32 registers, 6 x 2 where there are 16.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = kManyRegisters ? 4 : 2;

// kRows x (kVectors * lanes of Tag) outputs.
template <class Arithmetic, int64_t kRows, int64_t kVectors, class Tag>
HWY_ATTR void multiply_tile(Tag d, const Product<typename Arithmetic::Element>& p, int64_t row,
                            int64_t column) {
  using Vector = hn::Vec<Tag>;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const auto* HWY_RESTRICT x = p.x + row * p.x_stride;
  const auto* HWY_RESTRICT b = p.b + column;
  Vector sums[kRows][kVectors];
  for (auto& of_row : sums)
    for (Vector& sum : of_row) sum = hn::Zero(d);
  for (int64_t k = 0; k < p.depth; ++k, b += p.b_stride) {
    typename Arithmetic::template Operand<Tag> weights[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) weights[v] = Arithmetic::load(d, b + v * kWidth);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto input = Arithmetic::broadcast(d, x[r * p.x_stride + k]);
      for (int64_t v = 0; v < kVectors; ++v)
        sums[r][v] = Arithmetic::add(sums[r][v], input, weights[v]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    float* HWY_RESTRICT y = p.y + (row + r) * p.y_stride + column;
    for (int64_t v = 0; v < kVectors; ++v) {
      if (p.accumulate) sums[r][v] = hn::Add(hn::LoadU(d, y + v * kWidth), sums[r][v]);
      hn::StoreU(sums[r][v], d, y + v * kWidth);
    }
  }
}

// All rows of one column of tiles.
template <class Arithmetic, int64_t kVectors, class Tag>
HWY_ATTR void multiply_columns(Tag d, const Product<typename Arithmetic::Element>& p,
                               int64_t column) {
  int64_t row = 0;
  for (; row + kTileRows <= p.rows; row += kTileRows)
    multiply_tile<Arithmetic, kTileRows, kVectors>(d, p, row, column);
  switch (p.rows - row) {
    case 1:
      return multiply_tile<Arithmetic, 1, kVectors>(d, p, row, column);
    case 2:
      return multiply_tile<Arithmetic, 2, kVectors>(d, p, row, column);
    case 3:
      return multiply_tile<Arithmetic, 3, kVectors>(d, p, row, column);
    case 4:
      return multiply_tile<Arithmetic, 4, kVectors>(d, p, row, column);
    case 5:
      return multiply_tile<Arithmetic, 5, kVectors>(d, p, row, column);
  }
}

template <class Arithmetic>
HWY_ATTR void multiply_all(const Product<typename Arithmetic::Element>& p) {
  int64_t column = 0;
  for (; column + kTileVectors * kLanes <= p.width; column += kTileVectors * kLanes)
    multiply_columns<Arithmetic, kTileVectors>(F32(), p, column);
  for (; column + kLanes <= p.width; column += kLanes)
    multiply_columns<Arithmetic, 1>(F32(), p, column);
  for (; column < p.width; ++column) multiply_columns<Arithmetic, 1>(OneF32(), p, column);
}

HWY_ATTR void multiply_f32(const MatrixProduct& p) { multiply_all<F32Arithmetic>(p); }

HWY_ATTR void multiply_bf16(const PairProduct& p) {
  with_pair_arithmetic([&](auto arithmetic) HWY_ATTR { multiply_all<decltype(arithmetic)>(p); });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(multiply_f32);
HWY_EXPORT(multiply_bf16);
}  // namespace
void multiply(const MatrixProduct& product) { HWY_DYNAMIC_DISPATCH(multiply_f32)(product); }
void multiply(const PairProduct& product) { HWY_DYNAMIC_DISPATCH(multiply_bf16)(product); }
}  // namespace qround::ops::cpu
#endif
