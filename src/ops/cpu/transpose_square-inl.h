// Transposition of 32-bit words in squares. Included once per vector target.
#if defined(QROUND_OPS_CPU_TRANSPOSE_SQUARE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_TRANSPOSE_SQUARE_INL_H_
#undef QROUND_OPS_CPU_TRANSPOSE_SQUARE_INL_H_
#else
#define QROUND_OPS_CPU_TRANSPOSE_SQUARE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
constexpr int64_t kSquare = 4;

template <class Source, class Word>
HWY_INLINE void transpose_square(const Source& from, int64_t row, int64_t column,
                                 Word* HWY_RESTRICT to, int64_t to_stride) {
  const hn::Full128<Word> d;
  const auto row0 = from.load(d, row, column), row1 = from.load(d, row + 1, column),
             row2 = from.load(d, row + 2, column), row3 = from.load(d, row + 3, column);
  const auto low01 = hn::InterleaveLower(d, row0, row1), low23 = hn::InterleaveLower(d, row2, row3);
  const auto high01 = hn::InterleaveUpper(d, row0, row1),
             high23 = hn::InterleaveUpper(d, row2, row3);
  hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, to);
  hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, to + to_stride);
  hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, to + 2 * to_stride);
  hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, to + 3 * to_stride);
}
#else
constexpr int64_t kSquare = 1;

template <class Source, class Word>
HWY_INLINE void transpose_square(const Source& from, int64_t row, int64_t column, Word* to,
                                 int64_t) {
  *to = from.at(row, column);
}
#endif

// to[column][row] = from(row, column). A Source has at(row, column), load(d, row, column) of the
// lanes of d, and whole(): the columns that load may read.
// Whole lines of `to` are finished one after the other, 16 of its columns at a time.
template <class Source, class Word>
HWY_ATTR void transpose_words(const Source& from, int64_t rows, int64_t columns, Word* to,
                              int64_t to_stride) {
  constexpr int64_t kLine = 16;
  const int64_t square_rows = rows / kSquare * kSquare;
  const int64_t square_columns = from.whole() / kSquare * kSquare;
  for (int64_t first = 0; first < square_rows; first += kLine)
    for (int64_t column = 0; column < square_columns; column += kSquare)
      for (int64_t row = first; row < square_rows && row < first + kLine; row += kSquare)
        transpose_square(from, row, column, to + column * to_stride + row, to_stride);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = row < square_rows ? square_columns : 0; column < columns; ++column)
      to[column * to_stride + row] = from.at(row, column);
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
