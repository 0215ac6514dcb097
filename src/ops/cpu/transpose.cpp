#include "ops/cpu/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/transpose.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// A square of four.
template <class Element>
HWY_INLINE void transpose_square(const Element* HWY_RESTRICT from, int64_t from_stride,
                                 float* HWY_RESTRICT to, int64_t to_stride) {
  const hn::Full128<float> d;
  const auto row0 = load_f32(d, from), row1 = load_f32(d, from + from_stride),
             row2 = load_f32(d, from + 2 * from_stride), row3 = load_f32(d, from + 3 * from_stride);
  const auto low01 = hn::InterleaveLower(d, row0, row1), low23 = hn::InterleaveLower(d, row2, row3);
  const auto high01 = hn::InterleaveUpper(d, row0, row1),
             high23 = hn::InterleaveUpper(d, row2, row3);
  hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, to);
  hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, to + to_stride);
  hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, to + 2 * to_stride);
  hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, to + 3 * to_stride);
}
constexpr int64_t kSquare = 4;
#else
template <class Element>
HWY_INLINE void transpose_square(const Element* from, int64_t, float* to, int64_t) {
  *to = value_f32(*from);
}
constexpr int64_t kSquare = 1;
#endif

// Whole lines of `to` are finished one after the other, 16 of its columns at a time.
template <class Element>
HWY_ATTR void transpose_elements(const Element* from, const TransposeArgs& args) {
  constexpr int64_t kLine = 16;
  const int64_t square_rows = args.rows / kSquare * kSquare;
  const int64_t square_columns = args.columns / kSquare * kSquare;
  for (int64_t first = 0; first < square_rows; first += kLine)
    for (int64_t column = 0; column < square_columns; column += kSquare)
      for (int64_t row = first; row < square_rows && row < first + kLine; row += kSquare)
        transpose_square(from + row * args.from_stride + column, args.from_stride,
                         args.to + column * args.to_stride + row, args.to_stride);
  for (int64_t row = 0; row < args.rows; ++row)
    for (int64_t column = row < square_rows ? square_columns : 0; column < args.columns; ++column)
      args.to[column * args.to_stride + row] = value_f32(from[row * args.from_stride + column]);
}

HWY_ATTR void transpose_block(const TransposeArgs& args) {
  with_elements(args.dtype, args.from,
                [&](const auto* from) HWY_ATTR { transpose_elements(from, args); });
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(transpose_block);
}
void transpose(const TransposeArgs& args) { HWY_DYNAMIC_DISPATCH(transpose_block)(args); }
}  // namespace qround::ops::cpu
#endif
