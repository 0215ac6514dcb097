#include "ops/cuda/tensor_core.h"

#include <cstdlib>

#include "base/half.h"

namespace qround::ops::cuda {
namespace {

using cuda_emulation::kWarp;
using cuda_emulation::warp_collective;

constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

struct Product {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

float half_of(uint32_t pair, int which) {
  return bf16_to_f32(static_cast<uint16_t>(pair >> (16 * which)));
}

void multiply(void* const (&lanes)[kWarp], uint32_t) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& fragment = *static_cast<const Product*>(lanes[lane]);
    const int row = lane / 4, k = 2 * (lane % 4);
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < 2; ++e)
        a[row + 8 * (i % 2)][k + 8 * (i / 2) + e] = half_of(fragment.a[i], e);
    for (int i = 0; i < 2; ++i)
      for (int e = 0; e < 2; ++e) b[k + 8 * i + e][row] = half_of(fragment.b[i], e);
  }
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int m = lane / 4 + 8 * (i / 2), n = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[m][k] * b[k][n];
      static_cast<const Product*>(lanes[lane])->c[i] += sum;
    }
}

void multiply_tf32(void* const (&lanes)[kWarp], uint32_t) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& fragment = *static_cast<const Product*>(lanes[lane]);
    const int row = lane / 4, place = lane % 4;
    for (int i = 0; i < 4; ++i)
      a[row + 8 * (i % 2)][place + 4 * (i / 2)] = __uint_as_float(fragment.a[i]);
    for (int i = 0; i < 2; ++i) b[place + 4 * i][row] = __uint_as_float(fragment.b[i]);
  }
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int m = lane / 4 + 8 * (i / 2), n = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (int k = 0; k < 8; ++k) sum += a[m][k] * b[k][n];
      static_cast<const Product*>(lanes[lane])->c[i] += sum;
    }
}

struct MatrixLoad {
  const void* row;
  uint32_t* r;
};

template <int kMatrices, bool kTransposed>
void load(void* const (&lanes)[kWarp], uint32_t) {
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    uint16_t values[8][8];
    for (int i = 0; i < 8; ++i) {
      const void* row = static_cast<const MatrixLoad*>(lanes[8 * matrix + i])->row;
      if (reinterpret_cast<uintptr_t>(row) % 16 != 0) std::abort();  // hardware would trap
      std::memcpy(values[i], row, sizeof(values[i]));
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      const int i = lane / 4, p = 2 * (lane % 4);
      const uint32_t low = kTransposed ? values[p][i] : values[i][p];
      const uint32_t high = kTransposed ? values[p + 1][i] : values[i][p + 1];
      static_cast<const MatrixLoad*>(lanes[lane])->r[matrix] = low | high << 16;
    }
  }
}

template <int kMatrices, bool kTransposed>
void ldmatrix(uint32_t (&r)[kMatrices], const void* row) {
  MatrixLoad mine{row, r};
  warp_collective(kAllLanes, &mine, load<kMatrices, kTransposed>);
}

}  // namespace

void mma_m16n8k16_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Product mine{c, a, b};
  warp_collective(kAllLanes, &mine, multiply);
}
void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Product mine{c, a, b};
  warp_collective(kAllLanes, &mine, multiply_tf32);
}
void ldmatrix_x4(uint32_t (&r)[4], const void* row) { ldmatrix<4, false>(r, row); }
void ldmatrix_x2(uint32_t (&r)[2], const void* row) { ldmatrix<2, false>(r, row); }
void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) { ldmatrix<4, true>(r, row); }
void ldmatrix_x2_transposed(uint32_t (&r)[2], const void* row) { ldmatrix<2, true>(r, row); }

}  // namespace qround::ops::cuda
