// The emulator itself: what kernels may rely on, and what it finds.
#include "tests/cuda_emulation/simt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "ops/backend.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/tensor_core.h"

namespace qround::ops::cuda {
namespace {

TEST(CudaEmulation, StandsInForTheDeviceButIsNeverChosenUnasked) {
  EXPECT_EQ(backend().name, "cuda-emulated");
  EXPECT_NE(select_backend("").name, "cuda-emulated");
  EXPECT_EQ(select_backend("cuda-emulated").name, "cuda-emulated");
}

void reverse_in_shared(const float* x, float* y) {
  auto* shared = dynamic_shared<float>();
  const unsigned first = blockIdx.x * blockDim.x;
  shared[threadIdx.x] = x[first + threadIdx.x];
  __syncthreads();
  y[first + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

void reverse_without_barrier(const float* x, float* y) {
  auto* shared = dynamic_shared<float>();
  shared[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST(CudaEmulation, BlocksShareMemoryBehindABarrierAndReadNaNWithoutOne) {
  std::vector<float> x(3 * 70), y(x.size());
  std::iota(x.begin(), x.end(), 0.0f);
  launch(reverse_in_shared, 3, 70, 70 * sizeof(float), nullptr, x.data(), y.data());
  for (int i = 0; i < 210; ++i) EXPECT_EQ(y[i], static_cast<float>(i / 70 * 70 + 69 - i % 70));
  launch(reverse_without_barrier, 1, 70, 70 * sizeof(float), nullptr, x.data(), y.data());
  EXPECT_TRUE(std::isnan(y[0]) || std::isnan(y[69]));
}

void half_a_barrier() {
  if (threadIdx.x < 16) __syncwarp();
}

TEST(CudaEmulation, AKernelThatWaitsForeverIsAnError) {
  EXPECT_THROW(launch(half_a_barrier, 1, 32, 0, nullptr), Error);
  // A thread that has ended counts as arrived.
  launch(
      +[] {
        if (threadIdx.x > 3) __syncthreads();
      },
      1, 64, 0, nullptr);
}

void warp_functions(float* sums, unsigned* ballots, int* counts) {
  const int self = static_cast<int>(threadIdx.x);
  float sum = static_cast<float>(self);
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
  sums[self] = sum + 1000 * __shfl_down_sync(0xFFFFFFFFu, static_cast<float>(self % 32), 4);
  ballots[self] = __ballot_sync(0xFFFFFFFFu, self % 3 == 0);
  counts[self] = __syncthreads_count(self % 2 == 0 ? 1 : 0);
}

TEST(CudaEmulation, LanesOfAWarpExchangeValues) {
  std::vector<float> sums(64);
  std::vector<unsigned> ballots(64);
  std::vector<int> counts(64);
  launch(warp_functions, 1, 64, 0, nullptr, sums.data(), ballots.data(), counts.data());
  for (int i = 0; i < 64; ++i) {
    const int below = i % 32 < 28 ? i % 32 + 4 : i % 32;
    EXPECT_EQ(sums[i], static_cast<float>((i < 32 ? 496 : 1520) + 1000 * below));
    EXPECT_EQ(ballots[i] >> (i % 32) & 1, i % 3 == 0 ? 1u : 0u);
    EXPECT_EQ(counts[i], 32);
  }
}

// C = A B of one tile through shared memory, as a kernel does it.
void one_tile(const uint16_t* a, const uint16_t* b, float* c) {
  auto* tile_a = dynamic_shared<uint16_t>();  // [16, 16]
  uint16_t* tile_b = tile_a + 256;            // [16, 8], rows are k
  const int lane = static_cast<int>(threadIdx.x);
  cp_async_16(tile_a + 8 * lane, a + 8 * lane);
  if (lane < 16) cp_async_16(tile_b + 8 * lane, b + 8 * lane, lane < 15 ? 16 : 0);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  uint32_t fragment_a[4], fragment_b[2];
  ldmatrix_x4(fragment_a, tile_a + 16 * (lane % 16) + 8 * (lane / 16));
  ldmatrix_x2_transposed(fragment_b, tile_b + 8 * (lane % 16));
  float sums[4] = {};
  mma_m16n8k16_bf16(sums, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = sums[i];
}

TEST(CudaEmulation, TensorCoreFragmentsMultiplyMatrices) {
  std::vector<uint16_t> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[i] = f32_to_bf16(static_cast<float>(i % 7 - 3));
  for (int i = 0; i < 128; ++i) b[i] = f32_to_bf16(static_cast<float>(i % 5 - 2));
  std::vector<float> c(128);
  launch(one_tile, 1, 32, 768, nullptr, a.data(), b.data(), c.data());
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n) {
      float sum = 0;
      for (int k = 0; k < 15; ++k)  // the last row of b was copied as zeros
        sum += bf16_to_f32(a[16 * m + k]) * bf16_to_f32(b[8 * k + n]);
      EXPECT_EQ(c[8 * m + n], sum) << m << ", " << n;
    }
}

void read_before_waiting(const float* from, float* to) {
  auto* shared = dynamic_shared<float>();
  cp_async_16(shared, from);
  cp_async_commit();
  to[0] = shared[0];
  cp_async_wait<0>();
  to[1] = shared[0];
}

TEST(CudaEmulation, AnAsynchronousCopyIsNotThereBeforeItWasWaitedFor) {
  alignas(16) const float from[4] = {1, 2, 3, 4};
  float to[2];
  launch(read_before_waiting, 1, 1, 16, nullptr, from, to);
  EXPECT_TRUE(std::isnan(to[0]));
  EXPECT_EQ(to[1], 1);
}

}  // namespace
}  // namespace qround::ops::cuda
