#include "ops/cpu/int4_rows.h"

#include <algorithm>

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

// Inputs [begin, end) of one group.
struct GroupRange {
  int64_t index = 0, begin = 0, end = 0;
};

// Adds one group's share to kVectors * lanes outputs from n on of kRows rows from `row` on.
template <int64_t kRows, int64_t kVectors, class Tag>
HWY_ATTR void add_group(Tag d, const Int4Rows& p, GroupRange group, int64_t row, int64_t n,
                        const float* input_sums) {
  using Vector = hn::Vec<Tag>;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const hn::Rebind<uint32_t, Tag> words_tag;
  const Int4Weight& w = *p.weight;
  const float* HWY_RESTRICT x = p.x + row * p.x_stride;
  Vector sums[kRows][kVectors];
  for (auto& of_row : sums)
    for (Vector& sum : of_row) sum = hn::Zero(d);
  for (int64_t k = group.begin; k < group.end; k += 8) {
    hn::Vec<decltype(words_tag)> words[kVectors];
    const uint32_t* HWY_RESTRICT from = w.qweight + k / 8 * w.n + n;
    for (int64_t v = 0; v < kVectors; ++v) words[v] = hn::LoadU(words_tag, from + v * kWidth);
    for_each_input([&](auto input) HWY_ATTR {
      Vector codes[kVectors];
      for (int64_t v = 0; v < kVectors; ++v) codes[v] = sixteenths<input>(d, words[v]);
      for (int64_t r = 0; r < kRows; ++r) {
        const Vector value = hn::Set(d, x[r * p.x_stride + k + input]);
        for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, codes[v], sums[r][v]);
      }
    });
  }
  const Int4Group of_group(w, group.index);
  for (int64_t v = 0; v < kVectors; ++v) {
    const int64_t output = n + v * kWidth;
    const Vector scale = of_group.scale(d, output), offset = of_group.offset(d, output);
    for (int64_t r = 0; r < kRows; ++r) {
      float* HWY_RESTRICT y = p.y + (row + r) * p.y_stride + output;
      const Vector before = group.begin == 0 ? hn::Zero(d) : hn::LoadU(d, y);
      const Vector centred =
          hn::MulSub(sums[r][v], hn::Set(d, 16.0f), hn::Mul(offset, hn::Set(d, input_sums[r])));
      hn::StoreU(hn::MulAdd(scale, centred, before), d, y);
    }
  }
}

template <int64_t kRows>
HWY_ATTR void add_group_to_rows(const Int4Rows& p, GroupRange group, int64_t row) {
  const F32 d;
  float input_sums[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    input_sums[r] = 0;
    const float* x = p.x + (row + r) * p.x_stride;
    for (int64_t k = group.begin; k < group.end; ++k) input_sums[r] += x[k];
  }
  int64_t n = p.begin;
  for (; n + kTileVectors * kLanes <= p.end; n += kTileVectors * kLanes)
    add_group<kRows, kTileVectors>(d, p, group, row, n, input_sums);
  for (; n + kLanes <= p.end; n += kLanes) add_group<kRows, 1>(d, p, group, row, n, input_sums);
  for (; n < p.end; ++n) add_group<kRows, 1>(OneF32(), p, group, row, n, input_sums);
}

HWY_ATTR void multiply_int4_rows(const Int4Rows& p) {
  const int64_t size = p.weight->group_size, depth = p.weight->k;
  for (GroupRange group; group.begin < depth; ++group.index, group.begin = group.end) {
    group.end = std::min(depth, group.begin + size);
    int64_t row = 0;
    for (; row + kMaxRows <= p.rows; row += kMaxRows) add_group_to_rows<kMaxRows>(p, group, row);
    switch (p.rows - row) {
      case 1:
        add_group_to_rows<1>(p, group, row);
        break;
      case 2:
        add_group_to_rows<2>(p, group, row);
        break;
      case 3:
        add_group_to_rows<3>(p, group, row);
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
