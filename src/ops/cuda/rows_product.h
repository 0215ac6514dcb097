// y = x Wᵀ for the engine: few rows in decode, many in prefill, and a row's bits the same in both.
//
// A warp multiplies 16 rows of x with blocks of 8 outputs on tensor cores and reads W straight from
// global memory, 32 inputs at a time, in the order it lies there. Inputs may be taken in any order
// as long as x and W agree, so lane 4 * row + quarter takes inputs 8 * quarter .. + 7 of the 32:
// 16 bytes of a BF16 row, or words of GPTQ's int4 layout, whose word r, n holds inputs 8r..8r+7 of
// output n. Outputs may be dealt to the blocks of 8 in any order, too: a lane takes neighbours, one
// for each of kVector blocks, whose words are one load of up to 16 bytes. Neither format needs
// another layout than the file's: nothing is prepared at load, and a mapped or copied checkpoint is
// all there is. (ldmatrix and shared memory are not needed: a value of W is used by one warp, and
// x, small, comes through the first-level cache.)
//
// The inputs are cut into 8 segments by K alone. In decode each of 8 warps takes one, so that a
// matrix is read by many warps; with many rows a warp takes all of them one after the other. Both
// add the segments' sums in order: same bits. An int4 group's sum is made of integers codes - zero,
// exact in BF16, and multiplied by its scale in f32.
//
// Registers as nvcc 13.0 compiles it for sm_80: few rows 64 (BF16) and 128 (int4), many rows 180
// and at most 220. Not yet run on a GPU.
//
// Tested by tests/ops/linear_test.cpp and mixture_of_experts_test.cpp.
#pragma once

#include "ops/cuda/launch.h"
#include "ops/cuda/weight_value.h"

namespace qround::ops::cuda {

inline constexpr int kSegments = 8;
inline constexpr int kInputBlock = 32;  // inputs taken at a time

// W [N, K] in BF16, rows 16-byte aligned, K a multiple of 32.
struct DenseColumns {
  static constexpr bool kInt4 = false;
  const uint16_t* data = nullptr;
  int64_t n = 0, k = 0;

  static constexpr int64_t unit() { return kInputBlock; }  // inputs that a segment cannot cut
  __device__ uint4 load(int64_t column, int64_t input) const {
    return *reinterpret_cast<const uint4*>(data + column * k + input);
  }
};

// kCount words as one load; `from` is aligned to its size.
template <int kCount>
__device__ void load_words(const uint32_t* from, uint32_t* to) {
  if constexpr (kCount == 4) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    to[0] = words.x;
    to[1] = words.y;
    to[2] = words.z;
    to[3] = words.w;
  } else if constexpr (kCount == 2) {
    const uint2 words = *reinterpret_cast<const uint2*>(from);
    to[0] = words.x;
    to[1] = words.y;
  } else {
    to[0] = *from;
  }
}

// W [N, K] in the GPTQ layout without shuffled groups; N a multiple of 4, qweight 16-byte aligned,
// K a multiple of the group, the group of 32.
struct Int4Columns {
  static constexpr bool kInt4 = true;
  const uint32_t* qweight = nullptr;
  const uint32_t* qzeros = nullptr;
  const uint16_t* scales = nullptr;
  int64_t n = 0, k = 0, group = 128;
  int zero_offset = 1;

  __device__ int64_t unit() const { return group; }
  // Of kCount neighbours from `column`, a multiple of it, on.
  template <int kCount>
  __device__ void load(int64_t column, int64_t input, uint32_t* words) const {
    load_words<kCount>(qweight + input / 8 * n + column, words);
  }
  __device__ float scale(int64_t column, int64_t group_idx) const {
    return f16_value(scales[group_idx * n + column]);
  }
  __device__ uint32_t zero(int64_t column, int64_t group_idx) const {
    const uint32_t word = qzeros[group_idx * ((n + 7) / 8) + column / 8];
    return (word >> (4 * (column % 8)) & 0xFu) + static_cast<uint32_t>(zero_offset);
  }
};

// The order of 8 inputs in a row of x: pairs lie as the nibbles of a word come apart.
template <class Columns>
__device__ constexpr int input_place(int input) {
  return Columns::kInt4 ? input % 4 * 2 + input / 4 : input;
}

// The 8 codes of a word less their zero, as pairs (i, i + 4). 0x4300 is 128 in BF16, whose last
// place is 1: a code in its last bits makes 128 + code, and the difference is exact.
__device__ inline void unpack_codes(uint32_t word, uint32_t zero, uint32_t (&pairs)[4]) {
  const uint32_t magic = 0x43004300u, subtrahend = magic + zero * 0x00010001u;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    pairs[i] = subtract_bf16_pairs((word >> (4 * i) & 0x000F000Fu) | magic, subtrahend);
}

// kM * 16 rows and kN * 8 outputs to a warp; the block's warps lie kWarpsM x kWarpsN, each segment
// by segment, or kSplit: all 8 at the same rows and outputs, each with one segment. kVector: see
// above; outputs of two matrices that belong together (for_each_twin) lie by turns of 8 * kVector.
template <class Columns, int kM, int kN, int kWarpsM, int kWarpsN, bool kSplit, int kVector>
class RowsProduct {
 public:
  static_assert(kN % kVector == 0 && (Columns::kInt4 || kVector == 1));
  static constexpr int kTurn = 8 * kVector;
  static constexpr int kUnroll =
      kM == 1 ? 4 : 2;  // blocks of inputs of a group; registers bound it
  static constexpr int kWarps = kSplit ? kSegments : kWarpsM * kWarpsN;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kM * (kSplit ? 1 : kWarpsM);
  static constexpr int kOutputs = 8 * kN * (kSplit ? 1 : kWarpsN);
  static constexpr int kSharedBytes = kSplit ? kSegments * kM * kN * 4 * 32 * 4 : 0;

  // row_of(r): row r of the block's tile in x, bf16 in the order of input_place; any valid one
  // where there is none. column_of(c): which matrix's which output column c of the tile is.
  template <class RowOf, class ColumnOf>
  __device__ void run(const RowOf& row_of, const ColumnOf& column_of, int64_t k) {
    const uint16_t* rows[kM][2];
#pragma unroll
    for (int i = 0; i < kM; ++i)
      for (int half = 0; half < 2; ++half)
        rows[i][half] =
            row_of(warp_row() + 16 * i + 8 * half + lane_idx() / 4) + lane_idx() % 4 * 8;
    if constexpr (kSplit) {
      segment(rows, column_of, k, warp_idx());
      add_segments();
    } else {
      clear(total_);
#pragma unroll 1
      for (int s = 0; s < kSegments; ++s) {
        segment(rows, column_of, k, s);
        add(total_, segment_);
      }
    }
  }

  // use(row, column, y): elements of the tile; kSplit: called by one warp only.
  template <class Use>
  __device__ void for_each(const Use& use) const {
    if (kSplit && warp_idx() != 0) return;
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) use(row_of_sum(i, e), column_of_sum(j, e), total_[i][j][e]);
  }

  // use(row, column, y of a turn's output, y of the one in the next turn): `column` counts the
  // outputs of every other turn.
  template <class Use>
  __device__ void for_each_twin(const Use& use) const {
    if (kSplit && warp_idx() != 0) return;
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (j / kVector % 2 != 0) continue;
          const int column = column_of_sum(j, e);
          use(row_of_sum(i, e), column / (2 * kTurn) * kTurn + column % kTurn, total_[i][j][e],
              total_[i][j + kVector][e]);
        }
  }

 private:
  using Sums = float[kM][kN][4];

  static __device__ int warp_row() { return kSplit ? 0 : warp_idx() / kWarpsN * 16 * kM; }
  static __device__ int warp_column() { return kSplit ? 0 : warp_idx() % kWarpsN * 8 * kN; }

  // Output `place` of the 8 of block j.
  static __device__ int column_of_block(int j, int place) {
    return warp_column() + j / kVector * kTurn + place * kVector + j % kVector;
  }
  // Of element e of a lane's sums.
  static __device__ int row_of_sum(int i, int e) {
    return warp_row() + 16 * i + 8 * (e / 2) + lane_idx() / 4;
  }
  static __device__ int column_of_sum(int j, int e) {
    return column_of_block(j, lane_idx() % 4 * 2 + e % 2);
  }

  static __device__ void clear(Sums& sums) {
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
  }
  static __device__ void add(Sums& to, const Sums& sums) {
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) to[i][j][e] += sums[i][j][e];
  }

  // The warps' segments, in order, in the first warp.
  __device__ void add_segments() {
    float* shared = dynamic_shared<float>();
    const auto place = [&](int warp, int i, int j, int e) {
      return shared + (((warp * kM + i) * kN + j) * 4 + e) * 32 + lane_idx();
    };
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int j = 0; j < kN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) *place(warp_idx(), i, j, e) = segment_[i][j][e];
    __syncthreads();
    clear(total_);
    if (warp_idx() != 0) return;
    for (int warp = 0; warp < kSegments; ++warp)
#pragma unroll
      for (int i = 0; i < kM; ++i)
#pragma unroll
        for (int j = 0; j < kN; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) total_[i][j][e] += *place(warp, i, j, e);
  }

  template <class ColumnOf>
  __device__ void segment(const uint16_t* const (&rows)[kM][2], const ColumnOf& column_of,
                          int64_t k, int s) {
    clear(segment_);
    const int64_t unit = column_of(0).matrix.unit(), units = k / unit;
    const int64_t first = units * s / kSegments, last = units * (s + 1) / kSegments;
    if constexpr (Columns::kInt4) {
#pragma unroll 1
      for (int64_t group = first; group < last; ++group)
        add_group(rows, column_of, group, static_cast<int>(unit));
    } else {
#pragma unroll 4
      for (int64_t block = first; block < last; ++block) {
        uint4 w[kN];
#pragma unroll
        for (int j = 0; j < kN; ++j) {
          const auto column = column_of(column_of_block(j, lane_idx() / 4));
          w[j] = column.matrix.load(column.idx, block * kInputBlock + lane_idx() % 4 * 8);
        }
        multiply(rows, block * kInputBlock, segment_, [&](int j, uint32_t(&pairs)[4]) {
          pairs[0] = w[j].x;
          pairs[1] = w[j].y;
          pairs[2] = w[j].z;
          pairs[3] = w[j].w;
        });
      }
    }
  }

  template <class ColumnOf>
  __device__ void add_group(const uint16_t* const (&rows)[kM][2], const ColumnOf& column_of,
                            int64_t group, int inputs) {
    Sums sums;
    clear(sums);
    uint32_t zeros[kN];
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const auto column = column_of(column_of_block(j, lane_idx() / 4));
      zeros[j] = column.matrix.zero(column.idx, group);
    }
#pragma unroll kUnroll
    for (int input = 0; input < inputs; input += kInputBlock) {
      const int64_t at = group * inputs + input;
      uint32_t words[kN];
#pragma unroll
      for (int j = 0; j < kN; j += kVector) {
        const auto column = column_of(column_of_block(j, lane_idx() / 4));
        // One beyond the last output is the last one, whose neighbours come before it.
        column.matrix.template load<kVector>(column.idx / kVector * kVector,
                                             at + lane_idx() % 4 * 8, words + j);
      }
      multiply(rows, at, sums,
               [&](int j, uint32_t(&pairs)[4]) { unpack_codes(words[j], zeros[j], pairs); });
    }
#pragma unroll
    for (int j = 0; j < kN; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const auto column = column_of(column_of_sum(j, e));
        const float scale = column.matrix.scale(column.idx, group);
#pragma unroll
        for (int i = 0; i < kM; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            segment_[i][j][2 * half + e] =
                __fmaf_rn(scale, sums[i][j][2 * half + e], segment_[i][j][2 * half + e]);
      }
  }

  // sums += x Wᵀ over 32 inputs. pairs_of(j, pairs): this lane's 8 weights of output block j.
  template <class PairsOf>
  __device__ void multiply(const uint16_t* const (&rows)[kM][2], int64_t input, Sums& sums,
                           const PairsOf& pairs_of) {
    uint4 x[kM][2];
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        x[i][half] = *reinterpret_cast<const uint4*>(rows[i][half] + input);
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      uint32_t pairs[4];
      pairs_of(j, pairs);
      const uint32_t low[2] = {pairs[0], pairs[1]}, high[2] = {pairs[2], pairs[3]};
#pragma unroll
      for (int i = 0; i < kM; ++i) {
        const uint32_t a_low[4] = {x[i][0].x, x[i][1].x, x[i][0].y, x[i][1].y};
        const uint32_t a_high[4] = {x[i][0].z, x[i][1].z, x[i][0].w, x[i][1].w};
        mma_m16n8k16_bf16(sums[i][j], a_low, low);
        mma_m16n8k16_bf16(sums[i][j], a_high, high);
      }
    }
  }

  Sums segment_, total_;
};

// Column `idx` of `matrix`.
template <class Columns>
struct Column {
  const Columns& matrix;
  int64_t idx;
};

// Rows are few up to here: decode, and the verification of drafts.
inline constexpr int64_t kFewRows = 32;
template <class Columns>
using FewRowsProduct =
    RowsProduct<Columns, 1, Columns::kInt4 ? 4 : 2, 1, 1, true, Columns::kInt4 ? 4 : 1>;
template <class Columns>
using ManyRowsProduct = RowsProduct<Columns, 2, 4, 2, 4, false, Columns::kInt4 ? 4 : 1>;
// Of two matrices by turns.
template <class Columns>
using FewRowsTwinProduct =
    RowsProduct<Columns, 1, Columns::kInt4 ? 4 : 2, 1, 1, true, Columns::kInt4 ? 2 : 1>;
template <class Columns>
using ManyRowsTwinProduct = RowsProduct<Columns, 2, 4, 2, 4, false, Columns::kInt4 ? 2 : 1>;

}  // namespace qround::ops::cuda
