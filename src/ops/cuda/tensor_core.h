// What only the hardware of sm_80 and later does: tensor-core products, matrix loads from shared
// memory, asynchronous copies into it. All of it runs on sm_90 and sm_120 unchanged.
// Tests replace this header by tests/cuda_emulation/include/ops/cuda/tensor_core.h.
//
// Fragments of m16n8k16, lane = 4 * row + pair; a register holds two bf16, the lower index low:
//   a[0]: A[row][2 pair ..], a[1]: A[row + 8][2 pair ..], a[2], a[3]: the same at k + 8
//   b[0]: B[2 pair ..][row] (n = row), b[1]: the same at k + 8
//   c[0], c[1]: C[row][2 pair ..], c[2], c[3]: C[row + 8][2 pair ..]
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace qround::ops::cuda {

// c += A B, f32 accumulators. By all lanes of a warp.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// f32 rounded to the 10 bits after the point that TF32 has, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
  return bits;
}

// c += A B of m16n8k8, TF32 factors. Lane = 4 * row + place: a[0]: A[row][place], a[1]: A[row + 8]
// [place], a[2], a[3]: the same at k + 4; b[0]: B[place][row] (n = row), b[1]: at k + 4; c as
// above.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4],
                                                 const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Four 8x8 matrices of 16-bit values: lane 8 m + i hands in the address of row i (16 bytes, aligned
// to 16) of matrix m; r[m] of lane 4 i + p becomes elements 2p and 2p + 1 of row i of matrix m.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row)));
}
// The same of the matrices transposed: lane 4 i + p gets elements 2p and 2p + 1 of column i.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
__device__ __forceinline__ void ldmatrix_x2_transposed(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row)));
}

// a - b, of both bf16 in a register; exact where the difference is a bf16.
__device__ __forceinline__ uint32_t subtract_bf16_pairs(uint32_t a, uint32_t b) {
  constexpr uint32_t kOnes = 0x3F803F80u, kSigns = 0x80008000u;
  uint32_t difference;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;\n" : "=r"(difference) : "r"(a), "r"(kOnes), "r"(b ^ kSigns));
  return difference;
}

// Copies 16 bytes (both ends aligned to 16) into shared memory; of them the first `valid` are read,
// the others become zeros (valid 0: nothing is read). Belongs to the thread's open group.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, int valid = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid));
}
// Closes the thread's open group.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n"); }
// Waits until all but the last `kGroupsLeft` groups of this thread are there; a barrier must follow
// before other threads read them.
template <int kGroupsLeft>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroupsLeft));
}

}  // namespace qround::ops::cuda
