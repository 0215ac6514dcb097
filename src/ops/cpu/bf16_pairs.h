// Operands of products of BF16 pairs (matrix_product.h): f32 rounded to nearest even, and BF16
// weights, brought into pairs. What is missing to a last pair is zero.
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "ops/cpu/matrix_product.h"
#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::cpu {

inline int64_t pairs(int64_t count) { return elements<uint32_t>(count); }

struct PairsArgs {
  DType dtype = DType::f32;    // F32 or BF16
  const void* from = nullptr;  // [rows, columns]
  uint32_t* to = nullptr;
  int64_t rows = 0, columns = 0;
  int64_t from_stride = 0;  // elements from one row to the next
  int64_t to_stride = 0;    // pairs
};

// to[row][i] = columns 2i and 2i + 1 of a row: [rows, pairs(columns)], of f32.
void pair_columns(const PairsArgs& args);

// to[i][column] = rows 2i and 2i + 1: [pairs(rows), columns].
void pair_rows(const PairsArgs& args);

// to[i][row] = columns 2i and 2i + 1 of a row: [pairs(columns), rows], of BF16.
void transpose_column_pairs(const PairsArgs& args);

// to[column][i] = rows 2i and 2i + 1: [columns, pairs(rows)], of f32; `scratch` holds
// pairs(rows) * columns.
void transpose_row_pairs(const PairsArgs& args, uint32_t* scratch);

// Whether a linear map takes its inputs, and its transpose the gradients, in pairs.
inline bool takes_pairs(const Weight& weight, const OpContext& context) {
  const auto* dense = std::get_if<DenseWeight>(&weight);
  return context.activations != Activations::f32 && dense != nullptr && dense->dtype == DType::bf16;
}

// [rows, pairs(width)]: rows of x in pairs.
std::span<const uint32_t> take_row_pairs(Workspace::Scope& scope, const float* x, int64_t rows,
                                         int64_t width, Threads threads);

}  // namespace qround::ops::cpu
