// A few rows of x times a dense weight, straight from its stored form: for decoding, where reading
// the weight is what takes the time. Each y[t][n] is summed in the same order whatever the number
// of rows and outputs.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace qround::ops::cpu {

struct DenseRows {
  DType dtype = DType::f32;
  const void* w = nullptr;   // [outputs, depth]
  const float* x = nullptr;  // [rows, depth]
  const uint32_t* x_pairs =
      nullptr;         // or, of BF16: [rows, pairs(depth)] as bf16_pairs.h makes them
  float* y = nullptr;  // [rows, outputs]
  int64_t rows = 0, outputs = 0, depth = 0;
  int64_t w_stride = 0, x_stride = 0, y_stride = 0;  // elements from one row to the next
};

// y[t][n] = sum over k of x[t][k] * w[n][k].
void multiply_dense_rows(const DenseRows& product);

}  // namespace qround::ops::cpu
