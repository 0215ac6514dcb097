// One element of a stored weight as f32: the definition of every weight format.
#pragma once

#include <cassert>

#include "base/half.h"
#include "ops/weight.h"

namespace qround::ops::ref {

inline float weight_value(const DenseWeight& weight, int64_t n, int64_t k) {
  const int64_t index = n * weight.k + k;
  switch (weight.dtype) {
    case DType::bf16:
      return bf16_to_f32(static_cast<const uint16_t*>(weight.data)[index]);
    case DType::f16:
      return f16_to_f32(static_cast<const uint16_t*>(weight.data)[index]);
    case DType::f32:
      return static_cast<const float*>(weight.data)[index];
    default:
      assert(false && "a dense weight is BF16, F16 or F32");
      return 0;
  }
}

inline float weight_value(const Int4Weight& weight, int64_t n, int64_t k) {
  const int64_t group = weight.g_idx != nullptr ? weight.g_idx[k] : k / weight.group_size;
  const int64_t zero_words = (weight.n + 7) / 8;
  const uint32_t code_word = weight.qweight[k / 8 * weight.n + n];
  const uint32_t zero_word = weight.qzeros[group * zero_words + n / 8];
  const int code = static_cast<int>(code_word >> (4 * (k % 8)) & 0xFu);
  const int zero = static_cast<int>(zero_word >> (4 * (n % 8)) & 0xFu) + weight.zero_offset;
  return f16_to_f32(weight.scales[group * weight.n + n]) * static_cast<float>(code - zero);
}

inline float weight_value(const Int8Weight& weight, int64_t n, int64_t k) {
  const float scale = weight.scales[n * (weight.k / weight.group_size) + k / weight.group_size];
  return scale * static_cast<float>(weight.codes[n * weight.k + Int8Weight::place(k)]);
}

}  // namespace qround::ops::ref
