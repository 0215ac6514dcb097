#include "ops/cpu/int8_inputs.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/int8_inputs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR float largest_magnitude(const float* x, int64_t count) {
  F32Vector largest = hn::Zero(F32());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    largest = hn::Max(largest, hn::Abs(hn::LoadU(F32(), x + i)));
  float result = hn::GetLane(hn::MaxOfLanes(F32(), largest));
  for (; i < count; ++i) result = std::max(result, std::abs(x[i]));
  return result;
}

// Returns the sum of the codes.
HWY_ATTR int32_t round_values(const float* x, int64_t count, float inverse, int8_t* codes) {
  const hn::RebindToSigned<F32> words;
  const hn::Rebind<int8_t, F32> bytes;
  auto sum = hn::Zero(words);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(F32(), x + i), hn::Set(F32(), inverse)));
    hn::StoreU(hn::DemoteTo(bytes, rounded), bytes, codes + i);
    sum = hn::Add(sum, rounded);
  }
  int32_t total = hn::GetLane(hn::SumOfLanes(words, sum));
  for (; i < count; ++i) {
    const auto rounded = hn::NearestInt(hn::Set(OneF32(), x[i] * inverse));
    codes[i] = static_cast<int8_t>(hn::GetLane(rounded));
    total += hn::GetLane(rounded);
  }
  return total;
}

// In every eight bytes the even ones come first.
HWY_ATTR void put_even_inputs_first(int8_t* codes, int64_t count) {
  const hn::CappedTag<uint8_t, 16> bytes;
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 2,  4,  6,  1, 3,  5,  7,
                                                     8, 10, 12, 14, 9, 11, 13, 15};
  auto* at = reinterpret_cast<uint8_t*>(codes);
  int64_t i = 0;
  for (; hn::MaxLanes(bytes) == 16 && i + 16 <= count; i += 16)
    hn::StoreU(hn::TableLookupBytes(hn::LoadU(bytes, at + i), hn::Load(bytes, kOrder)), bytes,
               at + i);
  for (; i < count; i += 8) {
    uint8_t eight[8];
    for (size_t j = 0; j < 8; ++j) eight[j] = at[i + kOrder[j]];
    std::copy_n(eight, 8, at + i);
  }
}

HWY_ATTR void round_row(const float* x, int64_t row, const Int8Inputs& inputs) {
  for (int64_t group = 0, begin = 0; begin < inputs.k; ++group, begin += inputs.group_size) {
    const int64_t count = std::min(inputs.group_size, inputs.k - begin);
    const float largest = largest_magnitude(x + begin, count);
    const float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
    const int64_t place = group * inputs.rows + row;
    int8_t* codes = inputs.codes.data() + place * inputs.group_size;
    const auto at = static_cast<size_t>(place);
    inputs.scales[at] = largest < 1e-30f ? 0.0f : largest / 127.0f;
    inputs.sums[at] = static_cast<float>(round_values(x + begin, count, inverse, codes));
    put_even_inputs_first(codes, count);
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(round_row);
}

Int8Inputs take_int8_inputs(Workspace::Scope& scope, int64_t rows, int64_t k, int64_t group_size) {
  Int8Inputs inputs{.rows = rows, .k = k, .group_size = group_size};
  const auto places = static_cast<size_t>(inputs.groups() * rows);
  inputs.codes = scope.take<int8_t>(places * static_cast<size_t>(group_size));
  inputs.scales = scope.take<float>(places);
  inputs.sums = scope.take<float>(places);
  return inputs;
}

void round_to_int8(const float* x, int64_t row, const Int8Inputs& inputs) {
  HWY_DYNAMIC_DISPATCH(round_row)(x, row, inputs);
}

}  // namespace qround::ops::cpu
#endif
