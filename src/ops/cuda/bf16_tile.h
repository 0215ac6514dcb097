// Tiles of bf16 in shared memory and the fragments that `mma` takes from them.
//
// A tile has kRows rows of kColumns values. Rows are cut into chunks of 8 values (16 bytes), and
// the chunks of a row change places by the row's number, so that the eight rows ldmatrix reads at
// once lie in different banks without padding.
//
// A factor of a product can lie either way: `k_contiguous`, rows of the tile are rows of the factor
// (A [m][k], B [n][k]), or `k_major`, rows of the tile are inputs (A [k][m], B [k][n]); the latter
// is read through the transposing ldmatrix.
#pragma once

#include <cstdint>

#include "ops/cuda/tensor_core.h"

namespace qround::ops::cuda {

enum class Layout { k_contiguous, k_major };

constexpr int kChunk = 8;  // bf16 values in 16 bytes

template <int kRows_, int kColumns_>
struct Bf16Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kChunks = kColumns / kChunk, kValues = kRows * kColumns;
  static_assert(kColumns % 16 == 0 && (kChunks == 2 || kChunks == 4 || kChunks % 8 == 0));

  // Where a chunk starts, in values.
  static __device__ int at(int row, int chunk) {
    constexpr int kShift = kChunks == 2 ? 2 : kChunks == 4 ? 1 : 0;
    constexpr int kMask = kChunks < 8 ? kChunks - 1 : 7;
    return row * kColumns + (chunk ^ (row >> kShift & kMask)) * kChunk;
  }
};

// The tile that holds kOuter rows of a factor and kDepth of its inputs.
template <Layout kLayout, int kOuter, int kDepth>
struct FactorTileOf {
  using Type = Bf16Tile<kOuter, kDepth>;
};
template <int kOuter, int kDepth>
struct FactorTileOf<Layout::k_major, kOuter, kDepth> {
  using Type = Bf16Tile<kDepth, kOuter>;
};
template <Layout kLayout, int kOuter, int kDepth>
using FactorTile = typename FactorTileOf<kLayout, kOuter, kDepth>::Type;

__device__ inline int lane_idx() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_idx() { return static_cast<int>(threadIdx.x) / 32; }

// A [16 x 16] from row m and input k on.
template <Layout kLayout, class Tile>
__device__ void load_a(uint32_t (&a)[4], const uint16_t* tile, int m, int k) {
  const int lane = lane_idx();
  if constexpr (kLayout == Layout::k_contiguous) {
    ldmatrix_x4(a, tile + Tile::at(m + lane % 16, k / kChunk + lane / 16));
  } else {
    const int block = lane / 8;
    ldmatrix_x4_transposed(a,
                           tile + Tile::at(k + block / 2 * 8 + lane % 8, m / kChunk + block % 2));
  }
}

// B [16 inputs x 16 columns] from column n and input k on: two fragments.
template <Layout kLayout, class Tile>
__device__ void load_b(uint32_t (&b)[2][2], const uint16_t* tile, int n, int k) {
  const int lane = lane_idx(), block = lane / 8;
  uint32_t r[4];
  if constexpr (kLayout == Layout::k_contiguous) {
    ldmatrix_x4(r, tile + Tile::at(n + block / 2 * 8 + lane % 8, k / kChunk + block % 2));
  } else {
    ldmatrix_x4_transposed(r,
                           tile + Tile::at(k + block % 2 * 8 + lane % 8, n / kChunk + block / 2));
  }
  b[0][0] = r[0];
  b[0][1] = r[1];
  b[1][0] = r[2];
  b[1][1] = r[3];
}

// Two numbers as bf16, the first in the low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<uint32_t>(__bfloat16_as_ushort(pair.y)) << 16 | __bfloat16_as_ushort(pair.x);
}
__device__ inline uint16_t to_bf16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}
__device__ inline float from_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

}  // namespace qround::ops::cuda
