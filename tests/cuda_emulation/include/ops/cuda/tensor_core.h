// The emulated twin of src/ops/cuda/tensor_core.h.
#pragma once

#include <cstdint>

#include "cuda_bf16.h"
#include "cuda_runtime.h"

namespace qround::ops::cuda {

void mma_m16n8k16_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
inline uint32_t to_tf32(float value) { return (__float_as_uint(value) + 0x1000u) & ~0x1FFFu; }
void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void ldmatrix_x4(uint32_t (&r)[4], const void* row);
void ldmatrix_x2(uint32_t (&r)[2], const void* row);
void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row);
void ldmatrix_x2_transposed(uint32_t (&r)[2], const void* row);

inline uint32_t subtract_bf16_pairs(uint32_t a, uint32_t b) {
  const auto half = [&](int shift) {
    const float difference = bf16_to_f32(static_cast<uint16_t>(a >> shift)) -
                             bf16_to_f32(static_cast<uint16_t>(b >> shift));
    return static_cast<uint32_t>(f32_to_bf16(difference)) << shift;
  };
  return half(0) | half(16);
}

inline void cp_async_16(void* shared, const void* global, int valid = 16) {
  cuda_emulation::copy_later(shared, global, 16, static_cast<size_t>(valid));
}
inline void cp_async_commit() { cuda_emulation::commit_copies(); }
template <int kGroupsLeft>
void cp_async_wait() {
  cuda_emulation::wait_for_copies(kGroupsLeft);
}

}  // namespace qround::ops::cuda
