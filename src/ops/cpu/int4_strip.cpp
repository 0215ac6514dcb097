#include "ops/cpu/int4_strip.h"

#include <algorithm>

#include "ops/cpu/int4_groups.h"
#include "ops/ref/weight_value.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/int4_strip.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Columns n .. n + lanes of inputs [begin, end), which share a group and fill whole words.
template <class Tag>
HWY_ATTR void unpack_columns(Tag d, const Int4Weight& w, int64_t n, int64_t begin, int64_t end,
                             const Int4Group& group, float* HWY_RESTRICT strip) {
  const hn::Rebind<uint32_t, Tag> words;
  const auto scale = group.scale(d, n), offset = hn::Mul(scale, group.offset(d, n));
  const auto step = hn::Mul(scale, hn::Set(d, 16.0f));
  for (int64_t k = begin; k < end; k += 8) {
    const auto word = hn::LoadU(words, w.qweight + k / 8 * w.n + n);
    for_each_input([&](auto input) HWY_ATTR {
      hn::StoreU(hn::MulSub(sixteenths<input>(d, word), step, offset), d, strip);
      strip += kStripWidth;
    });
  }
}

HWY_ATTR void make_int4_strip(const Int4Weight& w, const StripRange& range, float* strip) {
  for (int64_t k = range.k_begin; k < range.k_end;) {
    const int64_t group = k / w.group_size;
    const int64_t end = std::min(range.k_end, (group + 1) * w.group_size);
    const Int4Group of_group(w, group);
    int64_t n = range.n_begin;
    float* to = strip + (k - range.k_begin) * kStripWidth;
    for (; n + kLanes <= range.n_end; n += kLanes, to += kLanes)
      unpack_columns(F32(), w, n, k, end, of_group, to);
    for (; n < range.n_end; ++n, ++to) unpack_columns(OneF32(), w, n, k, end, of_group, to);
    k = end;
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(make_int4_strip);

void make_strip_by_value(const Int4Weight& weight, const StripRange& range, float* strip) {
  for (int64_t k = range.k_begin; k < range.k_end; ++k, strip += kStripWidth)
    for (int64_t n = range.n_begin; n < range.n_end; ++n)
      strip[n - range.n_begin] = ref::weight_value(weight, n, k);
}

}  // namespace

void make_int4_strip(const Int4Weight& weight, const StripRange& range, float* strip) {
  if (!has_word_groups(weight)) return make_strip_by_value(weight, range, strip);
  HWY_DYNAMIC_DISPATCH(make_int4_strip)(weight, range, strip);
}

}  // namespace qround::ops::cpu
#endif
