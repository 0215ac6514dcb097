// Products of small f32 matrices in shared memory by a block of 8 warps, TF32 factors on tensor
// cores, sums in registers between products: what the chunks of the delta rule are made of.
#pragma once

#include "ops/cuda/attention_tile.h"
#include "ops/cuda/launch.h"

namespace qround::ops::cuda {

inline constexpr int kChunkThreads = 256, kChunkWarps = kChunkThreads / 32;

// Element (r, c) lies at data[r * row + c * column]: transposing is swapping the strides.
struct View {
  const float* data;
  int row, column;

  __device__ float at(int r, int c) const { return data[r * row + c * column]; }
  __device__ View transposed() const { return {data, column, row}; }
};

// A [kM x kN] matrix in the registers of the block, in units of 16 x 32 that go round the warps.
template <int kM, int kN>
class ChunkSums {
 public:
  __device__ void clear() {
    for_each([](int, int, float& value) { value = 0; });
  }

  // += A B, A [kM x depth], B [depth x kN]; depth a multiple of 8.
  __device__ void add(const View& a, const View& b, int depth) {
    const int row = lane_idx() / 4, place = lane_idx() % 4;
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int unit = warp_idx() + i * kChunkWarps;
      if (unit >= kUnits) continue;
      const int m = unit % kUnitsM * 16 + row, n = unit / kUnitsM * 32 + row;
#pragma unroll 2
      for (int k = place; k < depth; k += 8) {
        const uint32_t fragment_a[4] = {to_tf32(a.at(m, k)), to_tf32(a.at(m + 8, k)),
                                        to_tf32(a.at(m, k + 4)), to_tf32(a.at(m + 8, k + 4))};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t fragment_b[2] = {to_tf32(b.at(k, n + 8 * j)),
                                          to_tf32(b.at(k + 4, n + 8 * j))};
          mma_m16n8k8_tf32(sums_[i][j], fragment_a, fragment_b);
        }
      }
    }
  }

  // use(row, column, value&)
  template <class Use>
  __device__ void for_each(const Use& use) {
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int unit = warp_idx() + i * kChunkWarps;
      if (unit >= kUnits) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          use(unit % kUnitsM * 16 + lane_idx() / 4 + e / 2 * 8,
              unit / kUnitsM * 32 + 8 * j + lane_idx() % 4 * 2 + e % 2, sums_[i][j][e]);
    }
  }

  // use(row, column, value&, value of `other` there)
  template <class Use>
  __device__ void with(const ChunkSums& other, const Use& use) {
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int unit = warp_idx() + i * kChunkWarps;
      if (unit >= kUnits) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          use(unit % kUnitsM * 16 + lane_idx() / 4 + e / 2 * 8,
              unit / kUnitsM * 32 + 8 * j + lane_idx() % 4 * 2 + e % 2, sums_[i][j][e],
              other.sums_[i][j][e]);
    }
  }

  // take(row, sum over columns of term(row, column, value)), by thread `row`, in a fixed order.
  // partial: [kM][kN / 32] in shared memory. Contains barriers.
  template <class Term, class Take>
  __device__ void sum_rows(const Term& term, float* partial, const Take& take) {
#pragma unroll
    for (int i = 0; i < kPerWarp; ++i) {
      const int unit = warp_idx() + i * kChunkWarps;
      if (unit >= kUnits) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = unit % kUnitsM * 16 + lane_idx() / 4 + 8 * half;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sum += term(row, unit / kUnitsM * 32 + 8 * j + lane_idx() % 4 * 2 + e,
                        sums_[i][j][2 * half + e]);
        sum = quad_sum(sum);
        if (lane_idx() % 4 == 0) partial[row * kUnitsN + unit / kUnitsM] = sum;
      }
    }
    __syncthreads();
    if (threadIdx.x < kM) {
      float sum = 0;
      for (int n = 0; n < kUnitsN; ++n) sum += partial[threadIdx.x * kUnitsN + n];
      take(static_cast<int>(threadIdx.x), sum);
    }
    __syncthreads();
  }

 private:
  static constexpr int kUnitsM = kM / 16, kUnitsN = kN / 32, kUnits = kUnitsM * kUnitsN;
  static constexpr int kPerWarp = (kUnits + kChunkWarps - 1) / kChunkWarps;
  static_assert(kM % 16 == 0 && kN % 32 == 0);

  float sums_[kPerWarp][4][4];
};

}  // namespace qround::ops::cuda
