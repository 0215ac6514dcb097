// Activations in the order RowsProduct reads them, and which weights it can read.
#pragma once

#include "ops/cuda/rows_product.h"
#include "ops/workspace.h"

namespace qround::ops::cuda {

// x [rows, K] f32 rounded to bf16, every 8 inputs in the order of input_place.
const uint16_t* round_for_int4(const float* x, int64_t rows, int64_t k, Workspace::Scope& scope,
                               const OpContext& context);
const uint16_t* round_for_dense(const float* x, int64_t rows, int64_t k, Workspace::Scope& scope,
                                const OpContext& context);

bool fits_rows_product(const DenseWeight& weight);
bool fits_rows_product(const Int4Weight& weight);

inline DenseColumns columns_of(const DenseWeight& weight) {
  return {static_cast<const uint16_t*>(weight.data), weight.n, weight.k};
}
inline Int4Columns columns_of(const Int4Weight& weight) {
  return {weight.qweight, weight.qzeros,     weight.scales,     weight.n,
          weight.k,       weight.group_size, weight.zero_offset};
}

}  // namespace qround::ops::cuda
