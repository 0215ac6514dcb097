// The emulated twin of src/ops/cuda/matrix_library.h: a library that takes depths that are
// multiples of 64, so that tests meet it and what the caller does without it.
#pragma once

#include "ops/cuda/bf16_matrix.h"
#include "ops/cuda/stream.h"

namespace qround::ops::cuda {

struct LibraryProduct {
  Bf16Matrix a;
  Bf16Matrix b;
  bool by_depth = false;
  float* d = nullptr;
  bool add = false;
};

inline constexpr size_t kLibraryScratchBytes = 4096;

inline bool library_multiply(const LibraryProduct& product, std::byte* scratch, Stream* stream) {
  if (is_rehearsal(stream)) return true;
  const Bf16Matrix &a = product.a, &b = product.b;
  if (a.columns % 64 != 0 || !a.aligned() || !b.aligned()) return false;
  std::memset(scratch, 0xFF, kLibraryScratchBytes);
  const int64_t columns = product.by_depth ? b.columns : b.rows;
  for (int64_t row = 0; row < a.rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float sum = 0;
      for (int64_t k = 0; k < a.columns; ++k) {
        const uint16_t of_b =
            product.by_depth ? b.data[k * b.stride + column] : b.data[column * b.stride + k];
        sum += from_bf16(a.data[row * a.stride + k]) * from_bf16(of_b);
      }
      float& d = product.d[row * columns + column];
      d = product.add ? d + sum : sum;
    }
  }
  return true;
}

}  // namespace qround::ops::cuda
