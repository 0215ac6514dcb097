// Copies tiles of a bf16 matrix in global memory into shared memory, with cp.async where rows begin
// at multiples of 16 bytes and by the value where they do not. What lies outside of the matrix is
// zero.
//
// The rows of a tile need not follow each other: `Rows` tells where one lies, so that gathered
// tokens, or rows of two matrices by turns, need no copy in between.
#pragma once

#include "ops/cuda/bf16_tile.h"

namespace qround::ops::cuda {

// Rows of one matrix as they follow.
struct PlainRows {
  const uint16_t* data = nullptr;
  int64_t stride = 0, count = 0;

  // Null: no such row.
  __device__ const uint16_t* at(int64_t row) const {
    return row < count ? data + row * stride : nullptr;
  }
};

// Grouped row r is the row of token choices[r] / n_chosen.
struct GatheredRows {
  const uint16_t* data = nullptr;
  const int32_t* choices = nullptr;
  int64_t stride = 0, count = 0;
  int n_chosen = 1;

  __device__ const uint16_t* at(int64_t row) const {
    return row < count ? data + choices[row] / n_chosen * stride : nullptr;
  }
};

// 8 values, of which the first `valid` exist.
__device__ inline void copy_chunk(uint16_t* to, const uint16_t* from, int valid, bool aligned) {
  if (aligned) {
    cp_async_16(to, from, 2 * valid);
    return;
  }
  uint32_t words[4]{};
#pragma unroll
  for (int i = 0; i < kChunk; ++i)
    if (i < valid) words[i / 2] |= static_cast<uint32_t>(from[i]) << (16 * (i % 2));
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ inline int valid_values(int64_t begin, int64_t end) {
  return end - begin >= kChunk ? kChunk : end > begin ? static_cast<int>(end - begin) : 0;
}

// A factor of a product: kOuter of its rows from `first` on. Every thread of the block takes part.
template <Layout kLayout, int kOuter, int kDepth, int kThreads, class Rows>
class TileLoader;

// Rows of the tile stay the same while inputs advance: their places are looked up once.
template <int kOuter, int kDepth, int kThreads, class Rows>
class TileLoader<Layout::k_contiguous, kOuter, kDepth, kThreads, Rows> {
 public:
  using Tile = Bf16Tile<kOuter, kDepth>;

  __device__ TileLoader(const Rows& rows, int64_t first, int64_t, bool aligned)
      : aligned_(aligned) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) rows_[i] = rows.at(first + row(i));
    for (int i = 0; i < kPerThread; ++i)
      if (fallback_ == nullptr) fallback_ = rows_[i];
  }

  // Inputs [k, k + kDepth) of a factor with `depth` inputs.
  __device__ void load(uint16_t* tile, int64_t k, int64_t depth) const {
    const int64_t column = k + chunk() * kChunk;
    const int in_row = valid_values(column, depth);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int valid = rows_[i] != nullptr ? in_row : 0;
      copy_chunk(tile + Tile::at(row(i), chunk()), valid > 0 ? rows_[i] + column : fallback_, valid,
                 aligned_);
    }
  }

 private:
  static constexpr int kChunks = kDepth / kChunk, kRowsAtOnce = kThreads / kChunks;
  static constexpr int kPerThread = kOuter / kRowsAtOnce;
  static_assert(kThreads % kChunks == 0 && kOuter % kRowsAtOnce == 0);

  static __device__ int chunk() { return static_cast<int>(threadIdx.x) % kChunks; }
  static __device__ int row(int i) {
    return i * kRowsAtOnce + static_cast<int>(threadIdx.x) / kChunks;
  }

  const uint16_t* rows_[kPerThread];
  const uint16_t* fallback_ = nullptr;  // never read
  bool aligned_;
};

// Inputs are rows of the matrix; the factor's rows are columns [first, columns) of it.
template <int kOuter, int kDepth, int kThreads, class Rows>
class TileLoader<Layout::k_major, kOuter, kDepth, kThreads, Rows> {
 public:
  using Tile = Bf16Tile<kDepth, kOuter>;

  __device__ TileLoader(const Rows& rows, int64_t first, int64_t columns, bool aligned)
      : rows_(rows), first_(first), columns_(columns), aligned_(aligned) {}

  __device__ void load(uint16_t* tile, int64_t k, int64_t depth) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int64_t column = first_ + chunk * kChunk;
    const int in_row = valid_values(column, columns_);
#pragma unroll
    for (int row = static_cast<int>(threadIdx.x) / kChunks; row < kDepth; row += kRowsAtOnce) {
      const uint16_t* from = k + row < depth ? rows_.at(k + row) : nullptr;
      const int valid = from != nullptr ? in_row : 0;
      copy_chunk(tile + Tile::at(row, chunk), valid > 0 ? from + column : rows_.data, valid,
                 aligned_);
    }
  }

 private:
  static constexpr int kChunks = kOuter / kChunk, kRowsAtOnce = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kDepth % kRowsAtOnce == 0);

  Rows rows_;
  int64_t first_, columns_;
  bool aligned_;
};

}  // namespace qround::ops::cuda
