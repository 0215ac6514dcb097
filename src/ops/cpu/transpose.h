// Transposed copies of small blocks, widened to f32, so that every product can be the one of
// matrix_product.h.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace qround::ops::cpu {

struct TransposeArgs {
  DType dtype = DType::f32;    // BF16, F16 or F32
  const void* from = nullptr;  // [rows, columns]
  float* to = nullptr;         // [columns, rows], apart from `from`
  int64_t rows = 0, columns = 0;
  int64_t from_stride = 0, to_stride = 0;  // elements from one row to the next
};

void transpose(const TransposeArgs& args);

}  // namespace qround::ops::cpu
