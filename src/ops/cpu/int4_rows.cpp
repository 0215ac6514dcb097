#include "ops/cpu/int4_rows.h"

#include <algorithm>

#include "ops/cpu/int4_strip.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/int4_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kMaxRows = 4;  // rows of x a register tile takes
constexpr int64_t kTileVectors = kManyRegisters ? 4 : 2;

// Inputs [begin, end): at most kStripDepth, as one strip of the product of many rows has them. Its
// sums are added to y in one piece there and here, which gives both the same bits.
struct Segment {
  int64_t begin = 0, end = 0;
};

// Adds a segment's share to kVectors * lanes outputs from n on of kRows rows from `row` on.
template <int64_t kRows, int64_t kVectors, class Tag>
HWY_ATTR void add_segment(Tag d, const Int4Rows& p, Segment segment, int64_t row, int64_t n) {
  using Vector = hn::Vec<Tag>;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const hn::Rebind<uint32_t, Tag> words_tag;
  const Int4Weight& w = *p.weight;
  const float* HWY_RESTRICT x = p.x + row * p.x_stride;
  Vector sums[kRows][kVectors];
  for (auto& of_row : sums)
    for (Vector& sum : of_row) sum = hn::Zero(d);
  for (int64_t k = segment.begin; k < segment.end;) {
    const int64_t group = k / w.group_size;
    const int64_t end = std::min(segment.end, (group + 1) * w.group_size);
    const Int4Group of_group(w, group);
    Vector steps[kVectors], offsets[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
      const Vector scale = of_group.scale(d, n + v * kWidth);
      steps[v] = hn::Mul(scale, hn::Set(d, 16.0f));
      offsets[v] = hn::Mul(scale, of_group.offset(d, n + v * kWidth));
    }
    for (; k < end; k += 8) {
      hn::Vec<decltype(words_tag)> words[kVectors];
      const uint32_t* HWY_RESTRICT from = w.qweight + k / 8 * w.n + n;
      for (int64_t v = 0; v < kVectors; ++v) words[v] = hn::LoadU(words_tag, from + v * kWidth);
      for_each_input([&](auto input) HWY_ATTR {
        Vector weights[kVectors];
        for (int64_t v = 0; v < kVectors; ++v)
          weights[v] = hn::MulSub(sixteenths<input>(d, words[v]), steps[v], offsets[v]);
        for (int64_t r = 0; r < kRows; ++r) {
          const Vector value = hn::Set(d, x[r * p.x_stride + k + input]);
          for (int64_t v = 0; v < kVectors; ++v)
            sums[r][v] = hn::MulAdd(value, weights[v], sums[r][v]);
        }
      });
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    float* HWY_RESTRICT y = p.y + (row + r) * p.y_stride + n;
    for (int64_t v = 0; v < kVectors; ++v, y += kWidth)
      hn::StoreU(segment.begin == 0 ? sums[r][v] : hn::Add(hn::LoadU(d, y), sums[r][v]), d, y);
  }
}

template <int64_t kRows>
HWY_ATTR void add_segment_to_rows(const Int4Rows& p, Segment segment, int64_t row) {
  const F32 d;
  int64_t n = p.begin;
  for (; n + kTileVectors * kLanes <= p.end; n += kTileVectors * kLanes)
    add_segment<kRows, kTileVectors>(d, p, segment, row, n);
  for (; n + kLanes <= p.end; n += kLanes) add_segment<kRows, 1>(d, p, segment, row, n);
  for (; n < p.end; ++n) add_segment<kRows, 1>(OneF32(), p, segment, row, n);
}

HWY_ATTR void multiply_int4_rows(const Int4Rows& p) {
  const int64_t depth = p.weight->k;
  for (Segment segment; segment.begin < depth; segment.begin = segment.end) {
    segment.end = std::min(depth, segment.begin + kStripDepth);
    int64_t row = 0;
    for (; row + kMaxRows <= p.rows; row += kMaxRows)
      add_segment_to_rows<kMaxRows>(p, segment, row);
    switch (p.rows - row) {
      case 1:
        add_segment_to_rows<1>(p, segment, row);
        break;
      case 2:
        add_segment_to_rows<2>(p, segment, row);
        break;
      case 3:
        add_segment_to_rows<3>(p, segment, row);
        break;
    }
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(multiply_int4_rows);
}
void multiply_int4_rows(const Int4Rows& product) {
  HWY_DYNAMIC_DISPATCH(multiply_int4_rows)(product);
}
}  // namespace qround::ops::cpu
#endif
