// Linear maps of many rows, as tuning, calibration and evaluation have them: bf16 products on
// tensor cores, by cublasLt (matrix_library.h) or, without it, by tiles of 128 x 128 of our own.
#pragma once

#include "ops/linear.h"

namespace qround::ops::cuda {

// y [rows, N] = x Wᵀ. A row's bits depend on nothing but its inputs.
void linear_many_rows(const Weight& weight, const float* x, int64_t rows, float* y,
                      const OpContext& context);

}  // namespace qround::ops::cuda
