// What the gradient of the delta rule does to the matrices of one chunk of C = 64 tokens besides
// multiplying them. Letters as in gated_delta_rule_backward.cpp. All run on the calling thread.
#pragma once

#include <cstdint>

namespace qround::ops::cpu {

inline constexpr int64_t kChunk = 64;  // C

// A matrix in a thread's memory.
struct Block {
  float* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;  // floats from one row to the next

  float* row(int64_t i) const { return data + i * stride; }
};

// Gates of a chunk of a value head.
struct ChunkGates {
  int64_t tokens = 0;      // of the chunk, at most C
  float* step = nullptr;   // e^log_decay
  float* beta = nullptr;   // β
  float* decay = nullptr;  // Γ = e^γ
  Block relative;          // D = e^(γ_i - γ_j), 0 above the diagonal

  const float* tail() const { return relative.row(tokens - 1); }  // e^(γ_C - γ)
};

// Makes decay and relative from step, as products: γ itself may reach hundreds, and its differences
// would be rounded accordingly.
void finish_gates(const ChunkGates& gates);

// inverse = (I + strictlow(diag(β) KKᵀ ∘ D))⁻¹. scratch [C].
void invert_chunk(const ChunkGates& gates, Block kk, float* scratch, Block inverse);

// right = diag(β) (V - diag(Γ) M).
void make_right_side(const ChunkGates& gates, Block v, Block memory, Block right);

// out = factor * x; out = x ∘ y; row i or column i of x times factors[i]. out may be x.
void scale_block(Block x, float factor, Block out);
void multiply_elements(Block x, Block y, Block out);
void scale_rows(Block x, const float* factors, Block out);
void scale_columns(Block x, const float* factors, Block out);

// Sum of x ∘ y.
float inner_product(Block x, Block y);

// sum_i += factors_i y_i, the gradient of rows factors_i x_i: d_log[i] += factors_i (x_i · y_i),
// what reaches the factors' logarithms. Returns what was added to d_log in all. `sign` is that of
// the logarithms in the exponent.
float add_row_factor_gradient(Block x, Block y, const float* factors, float sign, Block sum,
                              float* d_log);

// Through P = QKᵀ ∘ D: d_p is dP on entry and dP ∘ D, the gradient of QKᵀ, on return.
void through_scores(const ChunkGates& gates, Block p, Block d_p, float* d_gamma);

// Through T: g is Y Ṽᵀ on entry; on return E + Eᵀ, where E = diag(β) G ∘ D, G = -strictlow(Y Ṽᵀ),
// is the gradient of KKᵀ.
void through_inverse(const ChunkGates& gates, Block kk, Block g, float* d_beta, float* d_gamma);

// Through R = diag(β) (V - diag(Γ) M): y is Y = dR on entry and dM on return; dv is written.
void through_right_side(const ChunkGates& gates, Block v, Block memory, Block y, Block dv,
                        float* d_beta, float* d_gamma);

}  // namespace qround::ops::cpu
