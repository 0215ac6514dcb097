// The weight of a linear map y = x Wᵀ with W [N, K] as it lies in a file, and how to read its rows.
// Nothing here owns memory: pointers lead into a mapped checkpoint or into a tuner's buffers.
#pragma once

#include <cstdint>
#include <variant>

#include "base/dtype.h"

namespace qround::ops {

// [N, K] row-major in BF16, F16 or F32.
struct DenseWeight {
  DType dtype = DType::f32;
  const void* data = nullptr;
  int64_t n = 0, k = 0;
};

// GPTQ layout, 4 bits (docs/formats/gptq_int4.md):
// W[n][k] = f16(scales[group(k)][n]) * (code(k, n) - zero(group(k), n)),
// code(k, n) = nibble k % 8 of qweight[k / 8][n], zero(g, n) = nibble n % 8 of qzeros[g][n / 8]
// plus one, group(k) = g_idx ? g_idx[k] : k / group_size.
struct Int4Weight {
  const uint32_t* qweight = nullptr;  // [K/8, N]
  const uint32_t* qzeros = nullptr;   // [groups, ceil(N/8)]
  const uint16_t* scales = nullptr;   // [groups, N] f16, signed
  const int32_t* g_idx = nullptr;     // [K] or null
  int64_t n = 0, k = 0, group_size = 128;
  int zero_offset = 1;  // 1: zeros are stored minus one (GPTQ v1); 0: as they are (v2)
};

// A copy in memory, never in a file: W[n][k] = scales[n][k / group_size] * code. Of every eight
// inputs the codes of the even ones come first, as kernels lay out inputs rounded to int8.
struct Int8Weight {
  const int8_t* codes = nullptr;           // [N, K], -127 to 127
  const float* scales = nullptr;           // [N, K / group_size]
  int64_t n = 0, k = 0, group_size = 128;  // K a multiple of it, it a multiple of 64

  // Where input k of a row stands.
  static constexpr int64_t place(int64_t k) { return k / 8 * 8 + k % 2 * 4 + k % 8 / 2; }
};

using Weight = std::variant<DenseWeight, Int4Weight, Int8Weight>;

inline int64_t outputs(const Weight& weight) {
  return std::visit([](const auto& w) { return w.n; }, weight);
}
inline int64_t inputs(const Weight& weight) {
  return std::visit([](const auto& w) { return w.k; }, weight);
}

// The three maps of a SwiGLU feed-forward: down(silu(gate(x)) * up(x)).
struct SwigluWeights {
  Weight gate, up;  // [I, H]
  Weight down;      // [H, I]
};

}  // namespace qround::ops
