#include "ops/rms_norm.h"

#include <cmath>

#include "ops/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/rms_norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr double kL2Eps = 1e-6;

// In f64: the factor of a row is then rounded once, so that its values are those of any other
// engine that does the same, whatever the order of its sums.
HWY_ATTR double sum_of_squares(const float* x, int64_t width) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    const auto first = hn::PromoteTo(d, hn::LoadU(narrow, x + i));
    const auto second = hn::PromoteTo(d, hn::LoadU(narrow, x + i + lanes));
    even = hn::MulAdd(first, first, even);
    odd = hn::MulAdd(second, second, odd);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < width; ++i) total += double{x[i]} * double{x[i]};
  return total;
}

HWY_ATTR float inverse_rms(const float* x, RmsNormShape shape) {
  const double mean = sum_of_squares(x, shape.width) / static_cast<double>(shape.width);
  return static_cast<float>(1.0 / std::sqrt(mean + double{shape.eps}));
}

HWY_ATTR void zero_centered_rms_norm(const float* x, const float* weight, RmsNormShape shape,
                                     float* y) {
  for (int64_t row = 0; row < shape.rows; ++row, x += shape.width, y += shape.width) {
    const float factor = inverse_rms(x, shape);
    for_each_vector(shape.width, [&](auto d, int64_t i) HWY_ATTR {
      const auto gain = hn::Add(hn::Set(d, 1.0f), hn::LoadU(d, weight + i));
      hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), gain), d, y + i);
    });
  }
}

HWY_ATTR void gated_rms_norm(const float* x, const float* gate, const float* weight,
                             RmsNormShape shape, float* y) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    const float factor = inverse_rms(x, shape);
    for_each_vector(shape.width, [&](auto d, int64_t i) HWY_ATTR {
      const auto scaled = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
      const auto activated = silu(d, hn::LoadU(d, gate + i));
      hn::StoreU(hn::Mul(hn::Mul(scaled, hn::LoadU(d, weight + i)), activated), d, y + i);
    });
    x += shape.width;
    gate += shape.width;
    y += shape.width;
  }
}

HWY_ATTR void l2_norm(const float* x, int64_t rows, int64_t width, float scale, float* y) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const auto factor =
        static_cast<float>(double{scale} / std::sqrt(sum_of_squares(x, width) + kL2Eps));
    for_each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, y + i);
    });
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(zero_centered_rms_norm);
HWY_EXPORT(gated_rms_norm);
HWY_EXPORT(l2_norm);

RmsNormShape rows_of(RmsNormShape shape, int64_t begin, int64_t end) {
  shape.rows = end - begin;
  return shape;
}

}  // namespace

void zero_centered_rms_norm(const float* x, const float* weight, RmsNormShape shape, float* y,
                            const OpContext& context) {
  const auto kernel = HWY_DYNAMIC_DISPATCH(zero_centered_rms_norm);
  for_row_blocks(context.threads, shape.rows, shape.width, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * shape.width;
    kernel(x + offset, weight, rows_of(shape, begin, end), y + offset);
  });
}

void gated_rms_norm(const float* x, const float* gate, const float* weight, RmsNormShape shape,
                    float* y, const OpContext& context) {
  const auto kernel = HWY_DYNAMIC_DISPATCH(gated_rms_norm);
  for_row_blocks(context.threads, shape.rows, shape.width, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * shape.width;
    kernel(x + offset, gate + offset, weight, rows_of(shape, begin, end), y + offset);
  });
}

void l2_norm(const float* x, int64_t rows, int64_t width, float scale, float* y,
             const OpContext& context) {
  const auto kernel = HWY_DYNAMIC_DISPATCH(l2_norm);
  for_row_blocks(context.threads, rows, width, [&](int64_t begin, int64_t end) {
    const int64_t offset = begin * width;
    kernel(x + offset, end - begin, width, scale, y + offset);
  });
}

}  // namespace qround::ops::cpu
#endif
