#include "ops/cpu/bf16_pairs.h"

#include <cassert>
#include <cstring>

#include "base/half.h"
#include "ops/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/bf16_pairs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/bf16_round-inl.h"
#include "ops/cpu/transpose_square-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Words = hn::Rebind<uint32_t, F32>;

HWY_INLINE uint32_t pair_of(uint16_t first, uint16_t second) {
  return first | uint32_t{second} << 16;
}

// Elements as the halves of pairs.
HWY_INLINE uint16_t half_of(float value) { return f32_to_bf16(value); }
HWY_INLINE uint16_t half_of(uint16_t value) { return value; }

// Lane i: element i of a row in the upper half.
HWY_INLINE hn::Vec<Words> upper_halves(const float* from) {
  return round_to_bf16(F32(), hn::LoadU(F32(), from));
}
HWY_INLINE hn::Vec<Words> upper_halves(const uint16_t* from) {
  const hn::Rebind<uint16_t, F32> halves;
  return hn::ShiftLeft<16>(hn::PromoteTo(Words(), hn::LoadU(halves, from)));
}

HWY_ATTR void pair_columns_of(const PairsArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* from = static_cast<const float*>(args.from) + row * args.from_stride;
    uint32_t* to = args.to + row * args.to_stride;
    int64_t column = 0;
#if HWY_TARGET != HWY_SCALAR
    const Words words;
    for (; column + 2 * kLanes <= args.columns; column += 2 * kLanes) {
      const auto low = upper_halves(from + column), high = upper_halves(from + column + kLanes);
      const auto even = hn::ConcatEven(words, high, low), odd = hn::ConcatOdd(words, high, low);
      hn::StoreU(hn::Or(hn::ShiftRight<16>(even), odd), words, to + column / 2);
    }
#endif
    for (; column < args.columns; column += 2)
      to[column / 2] = pair_of(half_of(from[column]),
                               column + 1 < args.columns ? half_of(from[column + 1]) : uint16_t{0});
  }
}

template <class Element>
HWY_ATTR void pair_rows_of(const Element* from, const PairsArgs& args) {
  const Words words;
  for (int64_t row = 0; row < args.rows; row += 2, from += 2 * args.from_stride) {
    const Element* next = row + 1 < args.rows ? from + args.from_stride : nullptr;
    uint32_t* to = args.to + row / 2 * args.to_stride;
    int64_t column = 0;
    for (; column + kLanes <= args.columns; column += kLanes) {
      const auto first = hn::ShiftRight<16>(upper_halves(from + column));
      const auto second = next == nullptr ? hn::Zero(words) : upper_halves(next + column);
      hn::StoreU(hn::Or(first, second), words, to + column);
    }
    for (; column < args.columns; ++column)
      to[column] =
          pair_of(half_of(from[column]), next == nullptr ? uint16_t{0} : half_of(next[column]));
  }
}

// Pairs that lie side by side, wherever their row begins.
struct StoredPairs {
  const uint16_t* halves;
  int64_t row_stride, columns;

  HWY_INLINE uint32_t at(int64_t row, int64_t pair) const {
    const uint16_t* first = halves + row * row_stride + 2 * pair;
    return pair_of(first[0], 2 * pair + 1 < columns ? first[1] : uint16_t{0});
  }
  template <class Tag>
  HWY_INLINE hn::Vec<Tag> load(Tag d, int64_t row, int64_t pair) const {
    const hn::Repartition<uint16_t, Tag> d16;
    return hn::BitCast(d, hn::LoadU(d16, halves + row * row_stride + 2 * pair));
  }
  int64_t whole() const { return columns / 2; }  // pairs that `load` may read
};

HWY_ATTR void transpose_column_pairs_of(const PairsArgs& args) {
  const StoredPairs from{static_cast<const uint16_t*>(args.from), args.from_stride, args.columns};
  transpose_words(from, args.rows, pairs(args.columns), args.to, args.to_stride);
}

HWY_ATTR void pair_rows_block(const PairsArgs& args) {
  if (args.dtype == DType::bf16) return pair_rows_of(static_cast<const uint16_t*>(args.from), args);
  pair_rows_of(static_cast<const float*>(args.from), args);
}

struct PlainWords {
  const uint32_t* words;
  int64_t row_stride, columns;

  HWY_INLINE uint32_t at(int64_t row, int64_t column) const {
    return words[row * row_stride + column];
  }
  template <class Tag>
  HWY_INLINE hn::Vec<Tag> load(Tag d, int64_t row, int64_t column) const {
    return hn::LoadU(d, words + row * row_stride + column);
  }
  int64_t whole() const { return columns; }
};

HWY_ATTR void transpose_plain(const PairsArgs& args, uint32_t* scratch) {
  PairsArgs pairing = args;
  pairing.to = scratch;
  pairing.to_stride = args.columns;
  pair_rows_block(pairing);
  transpose_words(PlainWords{scratch, args.columns, args.columns}, pairs(args.rows), args.columns,
                  args.to, args.to_stride);
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(pair_columns_of);
HWY_EXPORT(pair_rows_block);
HWY_EXPORT(transpose_column_pairs_of);
HWY_EXPORT(transpose_plain);
}  // namespace

void pair_columns(const PairsArgs& args) {
  assert(args.dtype == DType::f32);
  HWY_DYNAMIC_DISPATCH(pair_columns_of)(args);
}

std::span<const uint32_t> take_row_pairs(Workspace::Scope& scope, const float* x, int64_t rows,
                                         int64_t width, Threads threads) {
  const auto rounded = scope.take<uint32_t>(static_cast<size_t>(rows * pairs(width)));
  for_row_blocks(threads, rows, width, [&](int64_t begin, int64_t end) {
    pair_columns({.from = x + begin * width,
                  .to = rounded.data() + begin * pairs(width),
                  .rows = end - begin,
                  .columns = width,
                  .from_stride = width,
                  .to_stride = pairs(width)});
  });
  return rounded;
}

void pair_rows(const PairsArgs& args) { HWY_DYNAMIC_DISPATCH(pair_rows_block)(args); }

void transpose_column_pairs(const PairsArgs& args) {
  assert(args.dtype == DType::bf16);
  HWY_DYNAMIC_DISPATCH(transpose_column_pairs_of)(args);
}

void transpose_row_pairs(const PairsArgs& args, uint32_t* scratch) {
  HWY_DYNAMIC_DISPATCH(transpose_plain)(args, scratch);
}

}  // namespace qround::ops::cpu
#endif
