// Transposed copies of small blocks, so that every product can be the one of matrix_product.h.
#pragma once

#include <cstdint>

namespace qround::ops::cpu {

struct TransposeArgs {
  const float* from = nullptr;  // [rows, columns]
  float* to = nullptr;          // [columns, rows], apart from `from`
  int64_t rows = 0, columns = 0;
  int64_t from_stride = 0, to_stride = 0;  // floats from one row to the next
};

void transpose(const TransposeArgs& args);

}  // namespace qround::ops::cpu
