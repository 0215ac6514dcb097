// One chunk of 64 tokens of one value head: its operands, and where the passes over chunks
// (gated_delta_rule_chunks.cu forward, gated_delta_rule_backward.cu) leave things for each other.
// Tokens after the end count as zeros.
#pragma once

#include "ops/cuda/chunk_product.h"
#include "ops/gated_delta_rule.h"

namespace qround::ops::cuda {

inline constexpr int kChunkTokens = 64;
inline constexpr int kValueColumns = 32;                // of S that a block has at a time
inline constexpr int kValueStride = kValueColumns + 4;  // in shared memory; no bank twice
inline constexpr int kSquareStride = kChunkTokens + 4;  // of matrices [64 x 64]

// What passes leave, by (sequence, value head, chunk).
struct ChunkStore {
  float *t, *p;                    // [64, 64]: T = (I + L)^-1; P = low(Q Kᵀ ∘ D)
  float* w;                        // [64, kDk]: T diag(beta Gamma) K
  float *corrected, *d_corrected;  // [64, value columns]: U, then V~ = U - W S0; its gradient
  float *states, *d_states;        // [kDk, value columns]: S0; dS1
  float *dq, *dk;                  // [64, kDk]: of this value head alone
};

struct ChunkedRule {
  GatedDeltaRuleBackwardArgs args;  // forward, those of the rule itself alone
  ChunkStore store;
  int64_t chunks = 0, value_columns = 0;  // Dv in whole blocks of kValueColumns
};

// The chunk a block works at.
template <int kDk>
struct ChunkPlace {
  static constexpr int kKeyStride = kDk + 4;

  const ChunkedRule& rule;
  int64_t sequence, head, chunk;

  __device__ int64_t idx() const {
    return (sequence * rule.args.value_heads + head) * rule.chunks + chunk;
  }
  __device__ bool exists(int token) const {
    return chunk * kChunkTokens + token < rule.args.tokens;
  }
  __device__ int64_t row(int token) const {
    return sequence * rule.args.tokens + chunk * kChunkTokens + token;
  }
  __device__ int64_t gate(int token) const { return row(token) * rule.args.value_heads + head; }

  // Element of a query or key row; 0 where there is none.
  __device__ float key_value(const float* rows, int64_t stride, int token, int column) const {
    if (!exists(token) || column >= rule.args.key_dim) return 0;
    const int64_t key_head = head / (rule.args.value_heads / rule.args.key_heads);
    return rows[row(token) * stride + key_head * rule.args.key_dim + column];
  }
  __device__ float query(int token, int column) const {
    return key_value(rule.args.q, rule.args.q_stride, token, column);
  }
  __device__ float key(int token, int column) const {
    return key_value(rule.args.k, rule.args.k_stride, token, column);
  }
  __device__ float value(const float* rows, int64_t stride, int token, int64_t column) const {
    if (!exists(token) || column >= rule.args.value_dim) return 0;
    return rows[row(token) * stride + head * rule.args.value_dim + column];
  }
  __device__ float v(int token, int64_t column) const {
    return value(rule.args.v, rule.args.v_stride, token, column);
  }
  __device__ float d_out(int token, int64_t column) const {
    return value(rule.args.d_out, rule.args.value_heads * rule.args.value_dim, token, column);
  }

  __device__ float* square(float* store) const {
    return store + idx() * kChunkTokens * kChunkTokens;
  }
  __device__ float* keys_of(float* store) const { return store + idx() * kChunkTokens * kDk; }
  __device__ float* values_of(float* store) const {
    return store + idx() * kChunkTokens * rule.value_columns;
  }
  __device__ float* state_of(float* store) const {
    return store + idx() * kDk * rule.value_columns;
  }

  // gamma[64]: sums of log_decay inside the chunk; beta[64]. By the block, with a barrier.
  __device__ void load_gates(float* gamma, float* beta) const {
    if (threadIdx.x < kChunkTokens) {
      const int token = static_cast<int>(threadIdx.x);
      gamma[token] = exists(token) ? rule.args.log_decay[gate(token)] : 0;
      if (beta != nullptr) beta[token] = exists(token) ? rule.args.beta[gate(token)] : 0;
    }
    __syncthreads();
    if (threadIdx.x == 0)
      for (int token = 1; token < kChunkTokens; ++token) gamma[token] += gamma[token - 1];
    __syncthreads();
  }
};

// to[row * stride + column] = value(row, column) over [rows, columns], by the block.
template <class Value>
__device__ void fill_tile(float* to, int stride, int rows, int columns, const Value& value) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += kChunkThreads)
    to[i / columns * stride + i % columns] = value(i / columns, i % columns);
}

__device__ inline View rows_view(const float* data, int stride) { return {data, stride, 1}; }

// S of kValueColumns columns after a chunk: state = e^gamma[63] state + Kᵀ corrected, with keys K
// and the corrected values times e^(gamma[63] - gamma). By the block, without a barrier.
template <int kDk>
__device__ void advance_state(const float* keys, const float* corrected, const float* gamma,
                              float* state) {
  ChunkSums<kDk, kValueColumns> change;
  change.clear();
  change.add(rows_view(keys, ChunkPlace<kDk>::kKeyStride).transposed(),
             rows_view(corrected, kValueStride), kChunkTokens);
  const float decay = expf(gamma[kChunkTokens - 1]);
  change.for_each([&](int i, int c, float& value) {
    float& element = state[i * kValueStride + c];
    element = decay * element + value;
  });
}

}  // namespace qround::ops::cuda
