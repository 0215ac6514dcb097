// Factors of tensor-core products: bf16 matrices, made once from f32 activations or from weights
// that are stored in another format.
#pragma once

#include "ops/cuda/tile_loader.h"
#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::cuda {

// [rows, columns], row-major, `stride` values from one row to the next.
struct Bf16Matrix {
  const uint16_t* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;

  __host__ __device__ PlainRows plain_rows() const { return {data, stride, rows}; }
  // Whether 8 values at a multiple of 8 can be read at once.
  __host__ __device__ bool aligned() const {
    return stride % kChunk == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
  }
};

// f32 rows, `stride` floats from one to the next.
struct F32Rows {
  const float* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;
};

// Rounded to nearest even; memory from `scope`, aligned whatever the number of columns.
Bf16Matrix round_to_bf16(const F32Rows& rows, Workspace::Scope& scope, const OpContext& context);

// W [N, K]: itself if it is stored in BF16, else a rounded copy from `scope`.
Bf16Matrix bf16_weight(const Weight& weight, Workspace::Scope& scope, const OpContext& context);

}  // namespace qround::ops::cuda
