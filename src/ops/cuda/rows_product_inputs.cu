#include "ops/cuda/rows_product_inputs.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256;

// A thread makes 8 inputs.
template <class Columns>
__global__ void round_inputs(const float* x, int64_t chunks, uint16_t* to) {
  const int64_t chunk = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (chunk >= chunks) return;
  uint16_t values[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) values[input_place<Columns>(i)] = to_bf16(x[chunk * kChunk + i]);
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = values[2 * i] | static_cast<uint32_t>(values[2 * i + 1]) << 16;
  reinterpret_cast<uint4*>(to)[chunk] = make_uint4(words[0], words[1], words[2], words[3]);
}

template <class Columns>
const uint16_t* round_for(const float* x, int64_t rows, int64_t k, Workspace::Scope& scope,
                          const OpContext& context) {
  uint16_t* to = scope.take<uint16_t>(static_cast<size_t>(rows * k)).data();
  const int64_t chunks = rows * k / kChunk;
  launch(round_inputs<Columns>, static_cast<unsigned>((chunks + kThreads - 1) / kThreads), kThreads,
         0, context.stream, x, chunks, to);
  return to;
}

}  // namespace

const uint16_t* round_for_int4(const float* x, int64_t rows, int64_t k, Workspace::Scope& scope,
                               const OpContext& context) {
  return round_for<Int4Columns>(x, rows, k, scope, context);
}
const uint16_t* round_for_dense(const float* x, int64_t rows, int64_t k, Workspace::Scope& scope,
                                const OpContext& context) {
  return round_for<DenseColumns>(x, rows, k, scope, context);
}

bool fits_rows_product(const DenseWeight& weight) {
  return weight.dtype == DType::bf16 && weight.k % kInputBlock == 0 &&
         reinterpret_cast<uintptr_t>(weight.data) % 16 == 0;
}
bool fits_rows_product(const Int4Weight& weight) {
  return weight.g_idx == nullptr && weight.group_size % kInputBlock == 0 &&
         weight.k % weight.group_size == 0 && weight.n % 4 == 0 &&
         reinterpret_cast<uintptr_t>(weight.qweight) % 16 == 0;
}

}  // namespace qround::ops::cuda
