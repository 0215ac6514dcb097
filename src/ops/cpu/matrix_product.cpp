#include "ops/cpu/matrix_product.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/matrix_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: 6 x 4 accumulators where there are 32 registers, 6 x 2 where there are 16.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = kManyRegisters ? 4 : 2;

// kRows x (kVectors * lanes of Tag) outputs.
template <int64_t kRows, int64_t kVectors, class Tag>
HWY_ATTR void multiply_tile(Tag d, const MatrixProduct& p, int64_t row, int64_t column) {
  using Vector = hn::Vec<Tag>;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const float* HWY_RESTRICT x = p.x + row * p.x_stride;
  const float* HWY_RESTRICT b = p.b + column;
  Vector sums[kRows][kVectors];
  for (auto& of_row : sums)
    for (Vector& sum : of_row) sum = hn::Zero(d);
  for (int64_t k = 0; k < p.depth; ++k, b += p.b_stride) {
    Vector weights[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) weights[v] = hn::LoadU(d, b + v * kWidth);
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector input = hn::Set(d, x[r * p.x_stride + k]);
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(input, weights[v], sums[r][v]);
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
template <int64_t kVectors, class Tag>
HWY_ATTR void multiply_columns(Tag d, const MatrixProduct& p, int64_t column) {
  int64_t row = 0;
  for (; row + kTileRows <= p.rows; row += kTileRows)
    multiply_tile<kTileRows, kVectors>(d, p, row, column);
  switch (p.rows - row) {
    case 1:
      return multiply_tile<1, kVectors>(d, p, row, column);
    case 2:
      return multiply_tile<2, kVectors>(d, p, row, column);
    case 3:
      return multiply_tile<3, kVectors>(d, p, row, column);
    case 4:
      return multiply_tile<4, kVectors>(d, p, row, column);
    case 5:
      return multiply_tile<5, kVectors>(d, p, row, column);
  }
}

HWY_ATTR void multiply(const MatrixProduct& p) {
  int64_t column = 0;
  for (; column + kTileVectors * kLanes <= p.width; column += kTileVectors * kLanes)
    multiply_columns<kTileVectors>(F32(), p, column);
  for (; column + kLanes <= p.width; column += kLanes) multiply_columns<1>(F32(), p, column);
  for (; column < p.width; ++column) multiply_columns<1>(OneF32(), p, column);
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(multiply);
}
void multiply(const MatrixProduct& product) { HWY_DYNAMIC_DISPATCH(multiply)(product); }
}  // namespace qround::ops::cpu
#endif
