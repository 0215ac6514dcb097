#include "ops/cpu/int4_int8.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/int4_int8.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/int8_dot-inl.h"
#include "ops/cpu/weight_load-inl.h"

namespace qround::ops::cpu {
#ifndef QROUND_OPS_CPU_INT4_INT8_ONCE
#define QROUND_OPS_CPU_INT4_INT8_ONCE

constexpr int64_t kCodeStrip = 64;          // outputs taken apart together
constexpr int64_t kDirectRows = 16;         // up to here codes are taken apart as they are met
constexpr int64_t kTiledRows = 64;          // rows that meet a strip before the next one
constexpr int64_t kStreamedSums = 4096;     // integer sums in the first-level cache
constexpr int64_t kAddedFloats = 64 * 256;  // sums of one further segment
constexpr int64_t kTiledOutputs = kAddedFloats / kTiledRows;

// One segment of a product.
struct Segment {
  const Int4Int8Product* product = nullptr;
  int64_t group_begin = 0, group_end = 0;
  int64_t begin = 0, end = 0;  // outputs
  int64_t row = 0, rows = 0;
  float* y = nullptr;  // place of output `begin` of row `row`
  int64_t y_stride = 0;

  int64_t place(int64_t r) const {
    const int64_t at = row + r;
    return product->places != nullptr ? product->places[at] : product->first_place + at;
  }
  int64_t words(int64_t group) const {
    const Int4Weight& w = *product->weight;
    return (std::min(w.k, (group + 1) * w.group_size) - group * w.group_size) / 8;
  }
  const uint32_t* words_at(int64_t group) const {
    const Int4Weight& w = *product->weight;
    return w.qweight + group * w.group_size / 8 * w.n;
  }
};

#endif
}  // namespace qround::ops::cpu

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using I32 = hn::RebindToSigned<F32>;
using OneI32 = hn::RebindToSigned<OneF32>;

template <class Tag>
HWY_INLINE hn::Vec<Tag> even_inputs(Tag d, hn::Vec<Tag> words) {
  return hn::And(words, hn::Set(d, 0x0F0F0F0F));
}
template <class Tag>
HWY_INLINE hn::Vec<Tag> odd_inputs(Tag d, hn::Vec<Tag> words) {
  return hn::And(hn::ShiftRight<4>(words), hn::Set(d, 0x0F0F0F0F));
}
template <class Tag>
HWY_INLINE hn::Vec<Tag> load_words(Tag d, const uint32_t* from) {
  return hn::LoadU(d, reinterpret_cast<const int32_t*>(from));
}
template <class Tag>
HWY_INLINE hn::Vec<Tag> four_inputs(Tag d, const int8_t* from) {
  int32_t four;
  std::memcpy(&four, from, sizeof(four));
  return hn::Set(d, four);
}

// What the rows of a tile have to do with one group.
template <int64_t kRows>
struct GroupRows {
  const int8_t* codes[kRows];
  float scales[kRows], sums[kRows];

  HWY_INLINE GroupRows(const Segment& s, int64_t group, int64_t row) {
    const Int8Inputs& inputs = *s.product->inputs;
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t place = s.place(row + r);
      const auto at = static_cast<size_t>(group * inputs.rows + place);
      codes[r] = inputs.codes_of(group, place);
      scales[r] = inputs.scales[at];
      sums[r] = inputs.sums[at];
    }
  }
};

// y of one vector of outputs takes a group's share: y += scale * s * (products - zero * sum).
template <class Tag>
HWY_INLINE void add_share(Tag d, hn::Vec<hn::RebindToSigned<Tag>> products, hn::Vec<Tag> scale,
                          hn::Vec<Tag> zero, float input_scale, float input_sum, bool first,
                          float* y) {
  const auto centred = hn::NegMulAdd(zero, hn::Set(d, input_sum), hn::ConvertTo(d, products));
  const auto factor = hn::Mul(scale, hn::Set(d, input_scale));
  const auto before = first ? hn::Zero(d) : hn::LoadU(d, y);
  hn::StoreU(hn::MulAdd(centred, factor, before), d, y);
}

template <class Tag>
HWY_INLINE hn::Vec<Tag> zero_of(Tag d, const Int4Group& group, int64_t n) {
  return hn::Sub(group.offset(d, n), hn::Set(d, 16.0f));
}

// Fetches scales and zeros of outputs [begin, end) of a group, which lie apart from its words.
HWY_INLINE void fetch_scales(const Int4Weight& w, int64_t group, int64_t begin, int64_t end) {
  const uint16_t* scales = w.scales + group * w.n;
  const uint32_t* zeros = w.qzeros + group * ((w.n + 7) / 8);
  for (int64_t n = begin; n < end; n += 32) __builtin_prefetch(scales + n, 0, 2);
  for (int64_t n = begin; n < end; n += 128) __builtin_prefetch(zeros + n / 8, 0, 2);
}

// A few rows: passes over whole rows of qweight.

// The inputs that kWords rows of qweight from `word` of a group on meet, in every lane. One row's
// stay in registers; those of more are loaded where they are needed.
template <int64_t kRows, int64_t kWords, class Tag>
class StreamedInputs {
 public:
  HWY_INLINE StreamedInputs(const GroupRows<kRows>& rows, int64_t word) {
    for (int64_t r = 0; r < kRows; ++r) codes_[r] = rows.codes[r] + word * 8;
    if constexpr (kRows == 1)
      for (int64_t half = 0; half < 2 * kWords; ++half)
        held_[half] = four_inputs(Tag(), codes_[0] + 4 * half);
  }
  // Of the even (half = 2 i) or odd (2 i + 1) places of row i.
  HWY_INLINE hn::Vec<Tag> of(int64_t r, int64_t half) const {
    if constexpr (kRows == 1) return held_[half];
    return four_inputs(Tag(), codes_[r] + 4 * half);
  }

 private:
  const int8_t* codes_[kRows];
  hn::Vec<Tag> held_[kRows == 1 ? 2 * kWords : 1];
};

// Where a pass over kWords rows of qweight is: words and sums of one vector of outputs.
struct StreamPlace {
  const uint32_t* words = nullptr;
  int32_t* sums = nullptr;
  int64_t stride = 0;  // words of a row of qweight
  int64_t ahead = 0;   // words to what is fetched into the second-level cache meanwhile
  bool first = false;  // of a group
};

template <class Dot, int64_t kRows, int64_t kWords, class Tag>
HWY_INLINE void stream_vector(Tag d, const StreamPlace& at,
                              const StreamedInputs<kRows, kWords, Tag>& inputs) {
  DotSums<Dot, Tag> even_dots[kRows], odd_dots[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    const auto before =
        at.first ? hn::Zero(d) : hn::LoadU(d, at.sums + r * (kStreamedSums / kRows));
    even_dots[r] = DotSums<Dot, Tag>(before);
    odd_dots[r] = DotSums<Dot, Tag>(hn::Zero(d));
  }
  for (int64_t i = 0; i < kWords; ++i) {
    const uint32_t* words = at.words + i * at.stride;
    __builtin_prefetch(words + at.ahead, 0, 2);
    const auto codes = load_words(d, words);
    const auto even = even_inputs(d, codes), odd = odd_inputs(d, codes);
    for (int64_t r = 0; r < kRows; ++r) {
      even_dots[r].add(even, inputs.of(r, 2 * i));
      odd_dots[r].add(odd, inputs.of(r, 2 * i + 1));
    }
  }
  static_assert(kWords <= DotSums<Dot, Tag>::kAddsPerSettle);
  for (int64_t r = 0; r < kRows; ++r) {
    even_dots[r].settle();
    odd_dots[r].settle();
    hn::StoreU(hn::Add(even_dots[r].total(), odd_dots[r].total()), d,
               at.sums + r * (kStreamedSums / kRows));
  }
}

// Rows of qweight shorter than this end before the processor's own prefetching has begun: the next
// pass is fetched instead. On longer ones fetching a little further on is still worth it. (Two Zen
// 4 cores, N 512: 33 GB/s instead of 21; N 2048: 38 instead of 34; N 8192: 37 instead of 33.)
constexpr int64_t kLongRow = 4096, kAheadOnLongRow = 256;

template <class Dot, int64_t kRows, int64_t kWords>
HWY_ATTR void stream_words(const Segment& s, const uint32_t* words, const GroupRows<kRows>& rows,
                           int64_t word, int32_t* sums) {
  const Int4Weight& w = *s.product->weight;
  StreamPlace at{.words = words + word * w.n + s.begin,
                 .sums = sums,
                 .stride = w.n,
                 .ahead = s.end - s.begin < kLongRow ? kWords * w.n : kAheadOnLongRow,
                 .first = word == 0};
  int64_t n = s.begin;
  const StreamedInputs<kRows, kWords, I32> inputs(rows, word);
  for (; n + kLanes <= s.end; n += kLanes, at.words += kLanes, at.sums += kLanes)
    stream_vector<Dot>(I32(), at, inputs);
  const StreamedInputs<kRows, kWords, OneI32> inputs_of_one(rows, word);
  for (; n < s.end; ++n, ++at.words, ++at.sums) stream_vector<Dot>(OneI32(), at, inputs_of_one);
}

template <int64_t kRows>
HWY_ATTR void add_streamed_sums(const Segment& s, int64_t group, const GroupRows<kRows>& rows,
                                const int32_t* sums) {
  const Int4Group of_group(*s.product->weight, group);
  const bool first = group == s.group_begin;
  const auto add = [&](auto d, int64_t n) HWY_ATTR {
    const auto scale = of_group.scale(d, n), zero = zero_of(d, of_group, n);
    for (int64_t r = 0; r < kRows; ++r) {
      const hn::RebindToSigned<decltype(d)> words;
      const auto products = hn::LoadU(words, sums + r * (kStreamedSums / kRows) + n - s.begin);
      add_share(d, products, scale, zero, rows.scales[r], rows.sums[r], first,
                s.y + r * s.y_stride + n - s.begin);
    }
  };
  int64_t n = s.begin;
  for (; n + kLanes <= s.end; n += kLanes) add(F32(), n);
  for (; n < s.end; ++n) add(OneF32(), n);
}

template <class Dot, int64_t kRows>
HWY_ATTR void stream_rows(const Segment& s, int32_t* sums) {
  for (int64_t group = s.group_begin; group < s.group_end; ++group) {
    const GroupRows<kRows> rows(s, group, 0);
    const uint32_t* words = s.words_at(group);
    const int64_t count = s.words(group);
    fetch_scales(*s.product->weight, group, s.begin, s.end);
    int64_t word = 0;
    for (; word + 8 <= count; word += 8) stream_words<Dot, kRows, 8>(s, words, rows, word, sums);
    for (; word + 4 <= count; word += 4) stream_words<Dot, kRows, 4>(s, words, rows, word, sums);
    for (; word < count; ++word) stream_words<Dot, kRows, 1>(s, words, rows, word, sums);
    add_streamed_sums<kRows>(s, group, rows, sums);
  }
}

HWY_ATTR void stream_segment(const Segment& s, int32_t* sums) {
  with_int8_dot([&](auto dot) HWY_ATTR {
    using Dot = decltype(dot);
    switch (s.rows) {
      case 1:
        return stream_rows<Dot, 1>(s, sums);
      case 2:
        return stream_rows<Dot, 2>(s, sums);
      case 3:
        return stream_rows<Dot, 3>(s, sums);
      case 4:
        return stream_rows<Dot, 4>(s, sums);
    }
  });
}

// More rows: register tiles. The codes of a tile are taken apart as they are met, or, where many
// tiles meet them, come from a strip in the first-level cache: rows of qweight a power of two apart
// would not stay there.

// A vector of codes: those of the even (half 0) or odd (half 1) places of a row of qweight.
struct CodesAsStored {
  static constexpr int64_t kTileRows = kManyRegisters ? 8 : 3;
  static constexpr int64_t kTileVectors = kManyRegisters ? 3 : 2;
  static constexpr int64_t kOutputs = kTileVectors * kLanes;  // that share a pass over all rows

  const uint32_t* words = nullptr;
  int64_t stride = 0;

  template <class Tag>
  HWY_INLINE hn::Vec<Tag> load(Tag d, int64_t word, int64_t half, int64_t at) const {
    const auto from = load_words(d, words + word * stride + at);
    return half == 0 ? even_inputs(d, from) : odd_inputs(d, from);
  }
};
struct CodesTakenApart {
  static constexpr int64_t kTileRows = kManyRegisters ? 6 : 3;
  static constexpr int64_t kTileVectors = kManyRegisters ? 4 : 2;
  static constexpr int64_t kOutputs = kCodeStrip;

  const int32_t* codes = nullptr;  // [words][even, odd][kCodeStrip]

  template <class Tag>
  HWY_INLINE hn::Vec<Tag> load(Tag d, int64_t word, int64_t half, int64_t at) const {
    return hn::LoadU(d, codes + (2 * word + half) * kCodeStrip + at);
  }
};

// Fetches a group's outputs [begin, end): pieces of rows far apart, which no processor guesses.
HWY_INLINE void fetch_group(const Segment& s, int64_t group, int64_t begin, int64_t end) {
  constexpr int64_t kLineWords = 16;
  const Int4Weight& w = *s.product->weight;
  if (group >= s.group_end) return;
  const uint32_t* from = s.words_at(group);
  for (int64_t i = 0; i < s.words(group); ++i, from += w.n)
    for (int64_t n = begin; n < end; n += kLineWords) __builtin_prefetch(from + n, 0, 2);
  fetch_scales(w, group, begin, end);
}

// codes [words][even, odd][kCodeStrip] of outputs [n, end) of a group.
HWY_ATTR void take_codes_apart(const Int4Weight& w, const uint32_t* words, int64_t count, int64_t n,
                               int64_t end, int32_t* codes) {
  for (int64_t i = 0; i < count; ++i, codes += 2 * kCodeStrip) {
    const uint32_t* from = words + i * w.n + n;
    const auto take = [&](auto d, int64_t at) HWY_ATTR {
      const auto word = load_words(d, from + at);
      hn::StoreU(even_inputs(d, word), d, codes + at);
      hn::StoreU(odd_inputs(d, word), d, codes + kCodeStrip + at);
    };
    int64_t at = 0;
    for (; at + kLanes <= end - n; at += kLanes) take(I32(), at);
    for (; at < end - n; ++at) take(OneI32(), at);
  }
}

// A group's codes of outputs [begin, end).
template <class Codes>
struct CodeStrip {
  Codes codes;
  int64_t words = 0, group = 0;
  bool first = false;
  int64_t begin = 0, end = 0;
};

// kRows rows and kVectors vectors of outputs from n on.
template <class Dot, int64_t kRows, int64_t kVectors, class Codes, class Tag>
HWY_ATTR void multiply_tile(Tag d, const Segment& s, const CodeStrip<Codes>& strip, int64_t n,
                            const GroupRows<kRows>& rows, int64_t row) {
  const hn::RebindToSigned<Tag> words;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  // All loops over the tile are unrolled here and not by the optimizer, which would decide too late
  // to keep the sums in registers.
  using Sums = DotSums<Dot, decltype(words)>;
  Sums dots[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) dots[r][v] = Sums(hn::Zero(words));
  }
  for (int64_t i = 0; i < strip.words; ++i) {
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      hn::Vec<decltype(words)> of_outputs[kVectors];
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v)
        of_outputs[v] = strip.codes.load(words, i, half, n - strip.begin + v * kWidth);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
        const auto inputs = four_inputs(words, rows.codes[r] + 8 * i + 4 * half);
#pragma GCC unroll 8
        for (int64_t v = 0; v < kVectors; ++v) dots[r][v].add(of_outputs[v], inputs);
      }
    }
    if (Dot::kPends && (i % 4 == 3 || i + 1 == strip.words)) {
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int64_t v = 0; v < kVectors; ++v) dots[r][v].settle();
      }
    }
  }
  const Int4Group of_group(*s.product->weight, strip.group);
#pragma GCC unroll 8
  for (int64_t v = 0; v < kVectors; ++v) {
    const int64_t output = n + v * kWidth;
    const auto scale = of_group.scale(d, output), zero = zero_of(d, of_group, output);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r)
      add_share(d, dots[r][v].total(), scale, zero, rows.scales[r], rows.sums[r], strip.first,
                s.y + (row + r) * s.y_stride + output - s.begin);
  }
}

template <class Dot, int64_t kRows, class Codes>
HWY_ATTR void multiply_row_tile(const Segment& s, const CodeStrip<Codes>& strip, int64_t row) {
  constexpr int64_t kVectors = Codes::kTileVectors;
  const GroupRows<kRows> rows(s, strip.group, row);
  int64_t n = strip.begin;
  for (; n + kVectors * kLanes <= strip.end; n += kVectors * kLanes)
    multiply_tile<Dot, kRows, kVectors>(F32(), s, strip, n, rows, row);
  for (; n + kLanes <= strip.end; n += kLanes)
    multiply_tile<Dot, kRows, 1>(F32(), s, strip, n, rows, row);
  for (; n < strip.end; ++n) multiply_tile<Dot, kRows, 1>(OneF32(), s, strip, n, rows, row);
}

// `rows` of them, 1 to kMost.
template <class Dot, int64_t kMost, class Codes>
HWY_ATTR void multiply_rows(const Segment& s, const CodeStrip<Codes>& strip, int64_t row,
                            int64_t rows) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return multiply_rows<Dot, kMost - 1>(s, strip, row, rows);
  }
  multiply_row_tile<Dot, kMost>(s, strip, row);
}

template <class Dot, class Codes>
HWY_ATTR void multiply_strip(const Segment& s, const CodeStrip<Codes>& strip) {
  constexpr int64_t kTileRows = Codes::kTileRows;
  // Tiles as even as possible: 9 rows are 5 + 4, not 8 + 1, which would wait for loads.
  int64_t n_tiles = (s.rows + kTileRows - 1) / kTileRows;
  for (int64_t row = 0; row < s.rows; --n_tiles) {
    const int64_t rows = (s.rows - row + n_tiles - 1) / n_tiles;
    multiply_rows<Dot, kTileRows>(s, strip, row, rows);
    row += rows;
  }
}

// Outputs of a segment, kOutputs at a time through all its groups.
template <class Codes, class MakeCodes>
HWY_ATTR void multiply_segment(const Segment& s, const MakeCodes& make_codes) {
  for (int64_t begin = s.begin; begin < s.end; begin += Codes::kOutputs) {
    const int64_t end = std::min(s.end, begin + Codes::kOutputs);
    for (int64_t group = s.group_begin; group < s.group_end; ++group) {
      fetch_group(s, group + 1, begin, end);
      const CodeStrip<Codes> strip{.codes = make_codes(group, begin, end),
                                   .words = s.words(group),
                                   .group = group,
                                   .first = group == s.group_begin,
                                   .begin = begin,
                                   .end = end};
      with_int8_dot([&](auto dot) HWY_ATTR { multiply_strip<decltype(dot)>(s, strip); });
    }
  }
}

HWY_ATTR void tile_segment(const Segment& s, int32_t* codes) {
  const Int4Weight& w = *s.product->weight;
  if (s.rows <= kDirectRows) {
    return multiply_segment<CodesAsStored>(s, [&](int64_t group, int64_t begin, int64_t) HWY_ATTR {
      return CodesAsStored{s.words_at(group) + begin, w.n};
    });
  }
  multiply_segment<CodesTakenApart>(s, [&](int64_t group, int64_t begin, int64_t end) HWY_ATTR {
    take_codes_apart(w, s.words_at(group), s.words(group), begin, end, codes);
    return CodesTakenApart{codes};
  });
}

HWY_ATTR void add_rows(const float* from, int64_t from_stride, int64_t rows, int64_t width,
                       float* to, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = from + r * from_stride;
    float* y = to + r * to_stride;
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes)
      hn::StoreU(hn::Add(hn::LoadU(F32(), y + i), hn::LoadU(F32(), x + i)), F32(), y + i);
    for (; i < width; ++i) y[i] += x[i];
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(stream_segment);
HWY_EXPORT(tile_segment);
HWY_EXPORT(add_rows);

constexpr int64_t kSegmentBytes = 256 * 1024;  // of qweight; less is not worth a task
constexpr int64_t kTasks = 8;                  // that a map computed by itself should be cut into

// Segments of one block of rows and outputs.
void multiply_block(const Int4Int8Product& p, Segment s, int32_t* working, float* added) {
  const Int4Segments segments = int4_segments(*p.weight);
  const int64_t groups = (p.weight->k + p.weight->group_size - 1) / p.weight->group_size;
  const auto kernel = s.rows <= kStreamedRows && p.rows <= kStreamedRows
                          ? HWY_DYNAMIC_DISPATCH(stream_segment)
                          : HWY_DYNAMIC_DISPATCH(tile_segment);
  float* y = s.y;
  const int64_t width = s.end - s.begin;
  for (int64_t segment = p.segment_begin; segment < p.segment_end; ++segment) {
    const bool first = segment == p.segment_begin;
    s.group_begin = segment * segments.groups_each;
    s.group_end = std::min(groups, s.group_begin + segments.groups_each);
    s.y = first ? y : added;
    s.y_stride = first ? p.y_stride : width;
    kernel(s, working);
    if (!first) HWY_DYNAMIC_DISPATCH(add_rows)(added, width, s.rows, width, y, p.y_stride);
  }
}

}  // namespace

Int4Segments int4_segments(const Int4Weight& weight) {
  const int64_t groups = (weight.k + weight.group_size - 1) / weight.group_size;
  const int64_t blocks = (weight.n + kStreamedSums - 1) / kStreamedSums;
  const int64_t wanted =
      std::min(weight.n * weight.k / 2 / kSegmentBytes, std::max<int64_t>(1, kTasks / blocks));
  const int64_t each = (groups + std::max<int64_t>(1, wanted) - 1) / std::max<int64_t>(1, wanted);
  return {.count = (groups + each - 1) / each, .groups_each = each};
}

void multiply_int4_int8(const Int4Int8Product& p, std::byte* scratch) {
  auto* added = reinterpret_cast<float*>(scratch);
  auto* working = reinterpret_cast<int32_t*>(added + kAddedFloats);
  const bool streamed = p.rows <= kStreamedRows;
  const int64_t block_rows = streamed ? p.rows : kTiledRows;
  const int64_t block_outputs = streamed ? kStreamedSums / p.rows / 64 * 64 : kTiledOutputs;
  for (int64_t row = 0; row < p.rows; row += block_rows)
    for (int64_t begin = p.begin; begin < p.end; begin += block_outputs)
      multiply_block(p,
                     {.product = &p,
                      .begin = begin,
                      .end = std::min(p.end, begin + block_outputs),
                      .row = row,
                      .rows = std::min(block_rows, p.rows - row),
                      .y = p.y + row * p.y_stride + begin},
                     working, added);
}

}  // namespace qround::ops::cpu
#endif
