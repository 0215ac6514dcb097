// One block's tile of a matrix product on tensor cores: D [kM x kN] = A Bᵀ over `depth` inputs,
// bf16 factors, f32 sums (mma m16n8k16). Copies into shared memory run kStages - 1 steps ahead of
// the products.
//
// What the factors are, how they lie and what becomes of D is the caller's: loaders (tile_loader.h)
// bring the tiles, `for_each_pair` hands out D. All of the dense and grouped products of tuning are
// instances of it. An element's sum runs over inputs in ascending order, 16 at a time, whatever the
// tile: its bits depend on its row of A and its row of B alone.
//
// Compiled by nvcc 13.0 for sm_80, 90 and 120: every kernel made of it has at most 128 registers at
// 256 threads and spills none of them, so two blocks fit a multiprocessor. Not yet run on a GPU.
//
// Tested by tests/ops/linear_test.cpp, linear_backward_test.cpp and mixture_of_experts*_test.cpp.
#pragma once

#include "ops/cuda/tile_loader.h"

namespace qround::ops::cuda {

template <int kM_, int kN_, int kWarpsM, int kWarpsN, Layout kLayoutA, Layout kLayoutB>
class TileProduct {
 public:
  static constexpr int kM = kM_, kN = kN_, kDepth = 32, kStages = 4;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  using TileA = FactorTile<kLayoutA, kM, kDepth>;
  using TileB = FactorTile<kLayoutB, kN, kDepth>;
  template <class Rows>
  using LoaderA = TileLoader<kLayoutA, kM, kDepth, kThreads, Rows>;
  template <class Rows>
  using LoaderB = TileLoader<kLayoutB, kN, kDepth, kThreads, Rows>;
  static constexpr int kStageValues = TileA::kValues + TileB::kValues;
  static constexpr int kSharedBytes = kStages * kStageValues * 2;

  // D = A Bᵀ.
  template <class A, class B>
  __device__ void run(const A& a, const B& b, int64_t depth, uint16_t* shared) {
    clear();
    add(a, b, depth, shared);
  }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i)
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums_[i][j][e] = 0;
  }

  // D += A Bᵀ. shared: kSharedBytes; when it returns, they are free for other use.
  template <class A, class B>
  __device__ void add(const A& a, const B& b, int64_t depth, uint16_t* shared) {
    const int64_t steps = (depth + kDepth - 1) / kDepth;
    const auto load = [&](int64_t step) {
      uint16_t* stage = shared + step % kStages * kStageValues;
      if (step < steps) {
        a.load(stage, step * kDepth, depth);
        b.load(stage + TileA::kValues, step * kDepth, depth);
      }
      cp_async_commit();
    };
    for (int step = 0; step < kStages - 1; ++step) load(step);
    for (int64_t step = 0; step < steps; ++step) {
      cp_async_wait<kStages - 2>();
      __syncthreads();
      load(step + kStages - 1);
      multiply(shared + step % kStages * kStageValues);
    }
    cp_async_wait<0>();
    __syncthreads();
  }

  // use(row, column, value, next): D[row][column] and D[row][column + 1].
  template <class Use>
  __device__ void for_each_pair(const Use& use) const {
    const int lane = lane_idx();
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i)
#pragma unroll
      for (int j = 0; j < kFragmentsN; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          use(warp_m() + 16 * i + 8 * half + lane / 4, warp_n() + 8 * j + lane % 4 * 2,
              sums_[i][j][2 * half], sums_[i][j][2 * half + 1]);
  }

  // use(row, column, pair of an even block of 8 columns, pair of the odd one after it): for B's
  // whose blocks of 8 rows come from two matrices by turns. `column` counts within one of them.
  template <class Use>
  __device__ void for_each_twin(const Use& use) const {
    const int lane = lane_idx();
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i)
#pragma unroll
      for (int j = 0; j < kFragmentsN; j += 2)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          use(warp_m() + 16 * i + 8 * half + lane / 4, warp_n() / 2 + 4 * j + lane % 4 * 2,
              make_float2(sums_[i][j][2 * half], sums_[i][j][2 * half + 1]),
              make_float2(sums_[i][j + 1][2 * half], sums_[i][j + 1][2 * half + 1]));
  }

 private:
  static constexpr int kWarpM = kM / kWarpsM, kWarpN = kN / kWarpsN;
  static constexpr int kFragmentsM = kWarpM / 16, kFragmentsN = kWarpN / 8;
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0);

  static __device__ int warp_m() { return warp_idx() / kWarpsN * kWarpM; }
  static __device__ int warp_n() { return warp_idx() % kWarpsN * kWarpN; }

  __device__ void multiply(const uint16_t* stage) {
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t a[kFragmentsM][4], b[kFragmentsN / 2][2][2];
#pragma unroll
      for (int i = 0; i < kFragmentsM; ++i)
        load_a<kLayoutA, TileA>(a[i], stage, warp_m() + 16 * i, k);
#pragma unroll
      for (int j = 0; j < kFragmentsN / 2; ++j)
        load_b<kLayoutB, TileB>(b[j], stage + TileA::kValues, warp_n() + 16 * j, k);
#pragma unroll
      for (int i = 0; i < kFragmentsM; ++i)
#pragma unroll
        for (int j = 0; j < kFragmentsN; ++j) mma_m16n8k16_bf16(sums_[i][j], a[i], b[j / 2][j % 2]);
    }
  }

  float sums_[kFragmentsM][kFragmentsN][4];
};

}  // namespace qround::ops::cuda
