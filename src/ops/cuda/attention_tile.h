// Pieces of attention kernels: tiles of [tokens, D] in shared memory and products of them by warps.
// D is padded to 64, 128 or 256 with zeros.
#pragma once

#include "base/error.h"
#include "ops/cuda/bf16_tile.h"

namespace qround::ops::cuda {

// call.operator()<kD>() for the padded size of a head.
template <class Call>
void with_head_dim(int64_t head_dim, const Call& call) {
  if (head_dim <= 64) return call.template operator()<64>();
  if (head_dim <= 128) return call.template operator()<128>();
  if (head_dim <= 256) return call.template operator()<256>();
  throw Error("the cuda backend's attention takes heads of at most 256")
      .actual(std::to_string(head_dim));
}

// Rows of f32 become a tile; row_of(row) is where one starts, or null: zeros. By kThreads threads.
template <class Tile, int kThreads, class RowOf>
__device__ void load_f32_tile(uint16_t* tile, int64_t columns, const RowOf& row_of) {
  constexpr int kRowsAtOnce = kThreads / Tile::kChunks;
  static_assert(kThreads % Tile::kChunks == 0 && Tile::kRows % kRowsAtOnce == 0);
  const int chunk = static_cast<int>(threadIdx.x) % Tile::kChunks;
  const int64_t column = chunk * kChunk;
#pragma unroll 4
  for (int row = static_cast<int>(threadIdx.x) / Tile::kChunks; row < Tile::kRows;
       row += kRowsAtOnce) {
    const float* from = row_of(row);
    float x[kChunk]{};
    if (from != nullptr && column + kChunk <= columns &&
        reinterpret_cast<uintptr_t>(from + column) % 16 == 0) {
      const float4 low = *reinterpret_cast<const float4*>(from + column);
      const float4 high = *reinterpret_cast<const float4*>(from + column + 4);
      x[0] = low.x;
      x[1] = low.y;
      x[2] = low.z;
      x[3] = low.w;
      x[4] = high.x;
      x[5] = high.y;
      x[6] = high.z;
      x[7] = high.w;
    } else if (from != nullptr) {
#pragma unroll
      for (int i = 0; i < kChunk; ++i)
        if (column + i < columns) x[i] = from[column + i];
    }
    *reinterpret_cast<uint4*>(tile + Tile::at(row, chunk)) = make_uint4(
        pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
  }
}

// sums [16 x kN] += A Bᵀ over kDepth: rows `a_row` .. + 15 of tile a [.][kDepth], all kN rows of
// tile b [kN][kDepth]. By a warp.
template <int kDepth, int kN, class TileA, class TileB>
__device__ void multiply_rows(float (&sums)[kN / 8][4], const uint16_t* a, int a_row,
                              const uint16_t* b) {
#pragma unroll 4
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t fragment_a[4];
    load_a<Layout::k_contiguous, TileA>(fragment_a, a, a_row, k);
#pragma unroll
    for (int j = 0; j < kN / 16; ++j) {
      uint32_t fragment_b[2][2];
      load_b<Layout::k_contiguous, TileB>(fragment_b, b, 16 * j, k);
      mma_m16n8k16_bf16(sums[2 * j], fragment_a, fragment_b[0]);
      mma_m16n8k16_bf16(sums[2 * j + 1], fragment_a, fragment_b[1]);
    }
  }
}

// sums [16 x kN] += P B: P [16 x kDepth] as products left it in a warp's registers, rounded to
// bf16, columns `b_column` .. + kN of tile b [kDepth][.].
template <int kDepth, int kN, class TileB>
__device__ void multiply_fragments(float (&sums)[kN / 8][4], const float (&p)[kDepth / 8][4],
                                   const uint16_t* b, int b_column) {
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    const uint32_t a[4] = {pack_bf16(p[2 * k][0], p[2 * k][1]), pack_bf16(p[2 * k][2], p[2 * k][3]),
                           pack_bf16(p[2 * k + 1][0], p[2 * k + 1][1]),
                           pack_bf16(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int j = 0; j < kN / 16; ++j) {
      uint32_t fragment_b[2][2];
      load_b<Layout::k_major, TileB>(fragment_b, b, b_column + 16 * j, 16 * k);
      mma_m16n8k16_bf16(sums[2 * j], a, fragment_b[0]);
      mma_m16n8k16_bf16(sums[2 * j + 1], a, fragment_b[1]);
    }
  }
}

// Over the four lanes that share a row of fragments.
__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  return value + __shfl_xor_sync(0xFFFFFFFFu, value, 2);
}
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, 2));
}

}  // namespace qround::ops::cuda
