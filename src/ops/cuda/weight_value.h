// One element of a stored weight as f32, in kernels; ops/ref/weight_value.h defines it.
#pragma once

#include <cuda_fp16.h>

#include "ops/cuda/bf16_tile.h"
#include "ops/weight.h"

namespace qround::ops::cuda {

__device__ inline float f16_value(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }

__device__ inline float weight_value(const DenseWeight& weight, int64_t index) {
  if (weight.dtype == DType::f32) return static_cast<const float*>(weight.data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(weight.data)[index];
  return weight.dtype == DType::bf16 ? from_bf16(bits) : f16_value(bits);
}

__device__ inline float weight_value(const Int4Weight& weight, int64_t index) {
  const int64_t n = index / weight.k, k = index % weight.k;
  const int64_t group = weight.g_idx != nullptr ? weight.g_idx[k] : k / weight.group_size;
  const uint32_t code_word = weight.qweight[k / 8 * weight.n + n];
  const uint32_t zero_word = weight.qzeros[group * ((weight.n + 7) / 8) + n / 8];
  const int code = static_cast<int>(code_word >> (4 * (k % 8)) & 0xFu);
  const int zero = static_cast<int>(zero_word >> (4 * (n % 8)) & 0xFu) + weight.zero_offset;
  return __fmul_rn(f16_value(weight.scales[group * weight.n + n]), static_cast<float>(code - zero));
}

__device__ inline float weight_value(const Int8Weight& weight, int64_t index) {
  const int64_t n = index / weight.k, k = index % weight.k;
  const float scale = weight.scales[n * (weight.k / weight.group_size) + k / weight.group_size];
  const int64_t place = k / 8 * 8 + k % 2 * 4 + k % 8 / 2;  // Int8Weight::place
  return __fmul_rn(scale, static_cast<float>(weight.codes[n * weight.k + place]));
}

}  // namespace qround::ops::cuda
