// What the chunks of the delta rule need of each other's tokens before any state is known (model.md
// §7): T = (I + L)^-1 in f32, W = T diag(beta Gamma) K, U = T diag(beta) V, P = low(Q Kᵀ ∘ D). A
// block for each chunk; T is kept where somebody wants it.
#pragma once

#include "ops/cuda/delta_rule_chunk.h"

namespace qround::ops::cuda {

inline constexpr int kC = kChunkTokens;
using Square = ChunkSums<kC, kC>;
using ValueBlock = ChunkSums<kC, kValueColumns>;

// T = (I + L)^-1, L strictly lower, both with kSquareStride: a thread makes a column, downwards.
__device__ inline void invert(const float* l, float* t) {
  if (threadIdx.x >= kC) return;
  const int column = static_cast<int>(threadIdx.x);
  float of_column[kC];
#pragma unroll
  for (int i = 0; i < kC; ++i) {
    float value = i == column ? 1.0f : 0.0f;
#pragma unroll
    for (int j = 0; j < i; ++j) value -= l[i * kSquareStride + j] * of_column[j];
    of_column[i] = value;
    t[i * kSquareStride + column] = value;
  }
}

template <int kDk>
struct Prepare {
  static constexpr int kKeyStride = ChunkPlace<kDk>::kKeyStride;
  static constexpr int kKeyFloats = kC * (kKeyStride > kSquareStride ? kKeyStride : kSquareStride);
  static constexpr int kSharedBytes = (2 * kKeyFloats + kC * kSquareStride + 2 * kC) * 4;
};

template <int kDk>
__global__ void __launch_bounds__(kChunkThreads) prepare(ChunkedRule rule) {
  using Shape = Prepare<kDk>;
  const ChunkPlace<kDk> at{rule, blockIdx.z, blockIdx.y, blockIdx.x};
  float* keys = dynamic_shared<float>();
  float* queries = keys + Shape::kKeyFloats;
  float* square = queries + Shape::kKeyFloats;
  float* gamma = square + kC * kSquareStride;
  float* beta = gamma + kC;
  const View k = rows_view(keys, Shape::kKeyStride);

  at.load_gates(gamma, beta);
  fill_tile(keys, Shape::kKeyStride, kC, kDk, [&](int t, int c) { return at.key(t, c); });
  fill_tile(queries, Shape::kKeyStride, kC, kDk, [&](int t, int c) { return at.query(t, c); });
  __syncthreads();
  Square products;
  products.clear();
  products.add(k, k.transposed(), kDk);
  products.for_each([&](int i, int j, float& value) {
    square[i * kSquareStride + j] = i > j ? beta[i] * value * expf(gamma[i] - gamma[j]) : 0;
  });
  products.clear();
  products.add(rows_view(queries, Shape::kKeyStride), k.transposed(), kDk);
  products.for_each([&](int i, int j, float& value) {
    at.square(rule.store.p)[i * kC + j] = i >= j ? value * expf(gamma[i] - gamma[j]) : 0;
  });
  __syncthreads();
  float* t = queries;
  invert(square, t);
  for (int i = static_cast<int>(threadIdx.x); i < kC * kDk; i += kChunkThreads)
    keys[i / kDk * Shape::kKeyStride + i % kDk] *= beta[i / kDk] * expf(gamma[i / kDk]);
  __syncthreads();
  if (rule.store.t != nullptr) {
    fill_tile(at.square(rule.store.t), kC, kC, kC,
              [&](int i, int j) { return t[i * kSquareStride + j]; });
  }
  ChunkSums<kC, kDk> w;
  w.clear();
  w.add(rows_view(t, kSquareStride), k, kC);
  w.for_each([&](int i, int c, float& value) { at.keys_of(rule.store.w)[i * kDk + c] = value; });
  float* values = square;
  for (int64_t first = 0; first < rule.value_columns; first += kValueColumns) {
    __syncthreads();
    fill_tile(values, kValueStride, kC, kValueColumns,
              [&](int i, int c) { return beta[i] * at.v(i, first + c); });
    __syncthreads();
    ValueBlock u;
    u.clear();
    u.add(rows_view(t, kSquareStride), rows_view(values, kValueStride), kC);
    u.for_each([&](int i, int c, float& value) {
      at.values_of(rule.store.corrected)[i * rule.value_columns + first + c] = value;
    });
  }
}

}  // namespace qround::ops::cuda
