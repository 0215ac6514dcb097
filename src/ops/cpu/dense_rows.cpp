#include "ops/cpu/dense_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/dense_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: rows of W that are read side by side, times rows of x.
constexpr int64_t kTileOutputs = 4;
constexpr int64_t kTileRows = kManyRegisters ? 4 : 2;

template <int64_t kRows, int64_t kOutputs, class Element>
HWY_ATTR void dot_tile(const Element* HWY_RESTRICT w, const DenseRows& p, int64_t row,
                       int64_t output) {
  const F32 d;
  using Vector = hn::Vec<decltype(d)>;
  const float* HWY_RESTRICT x = p.x + row * p.x_stride;
  w += output * p.w_stride;
  Vector sums[kRows][kOutputs];
  for (auto& of_row : sums)
    for (Vector& sum : of_row) sum = hn::Zero(d);
  int64_t k = 0;
  for (; k + kLanes <= p.depth; k += kLanes) {
    Vector weights[kOutputs];
    for (int64_t n = 0; n < kOutputs; ++n) {
      if constexpr (kRows < kTileRows)
        __builtin_prefetch(w + (kOutputs + n) * p.w_stride + k, 0, 2);
      weights[n] = load_f32(d, w + n * p.w_stride + k);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector input = hn::LoadU(d, x + r * p.x_stride + k);
      for (int64_t n = 0; n < kOutputs; ++n) sums[r][n] = hn::MulAdd(input, weights[n], sums[r][n]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t n = 0; n < kOutputs; ++n) {
      float total = hn::GetLane(hn::SumOfLanes(d, sums[r][n]));
      for (int64_t i = k; i < p.depth; ++i)
        total += x[r * p.x_stride + i] * value_f32(w[n * p.w_stride + i]);
      p.y[(row + r) * p.y_stride + output + n] = total;
    }
}

// All rows of x against kOutputs rows of W, which stay in the first-level cache meanwhile.
template <int64_t kOutputs, class Element>
HWY_ATTR void dot_outputs(const Element* w, const DenseRows& p, int64_t output) {
  int64_t row = 0;
  for (; row + kTileRows <= p.rows; row += kTileRows)
    dot_tile<kTileRows, kOutputs>(w, p, row, output);
  switch (p.rows - row) {
    case 1:
      return dot_tile<1, kOutputs>(w, p, row, output);
    case 2:
      return dot_tile<2, kOutputs>(w, p, row, output);
    case 3:
      return dot_tile<3, kOutputs>(w, p, row, output);
  }
}

HWY_ATTR void multiply_dense_rows(const DenseRows& p) {
  with_elements(p.dtype, p.w, [&](const auto* w) HWY_ATTR {
    int64_t output = 0;
    for (; output + kTileOutputs <= p.outputs; output += kTileOutputs)
      dot_outputs<kTileOutputs>(w, p, output);
    for (; output < p.outputs; ++output) dot_outputs<1>(w, p, output);
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
