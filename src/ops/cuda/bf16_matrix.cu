#include "ops/cuda/bf16_matrix.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/weight_value.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256;

// A thread makes two neighbours; the padding at the end of a row becomes zero.
__global__ void round_rows(F32Rows from, uint16_t* to, int64_t stride) {
  const int64_t pairs = stride / 2, pair = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pair >= from.rows * pairs) return;
  const int64_t row = pair / pairs, column = pair % pairs * 2;
  const float* x = from.data + row * from.stride + column;
  const float low = column < from.columns ? x[0] : 0.0f;
  const float high = column + 1 < from.columns ? x[1] : 0.0f;
  reinterpret_cast<uint32_t*>(to)[pair] = pack_bf16(low, high);
}

template <class AnyWeight>
__global__ void round_weight(AnyWeight weight, uint16_t* to, int64_t stride) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= weight.n * stride) return;
  const int64_t row = index / stride, column = index % stride;
  to[index] = column < weight.k ? to_bf16(weight_value(weight, row * weight.k + column)) : 0;
}

unsigned blocks(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}
int64_t padded(int64_t columns) { return (columns + kChunk - 1) / kChunk * kChunk; }

}  // namespace

Bf16Matrix round_to_bf16(const F32Rows& rows, Workspace::Scope& scope, const OpContext& context) {
  const int64_t stride = padded(rows.columns);
  uint16_t* to = scope.take<uint16_t>(static_cast<size_t>(rows.rows * stride)).data();
  launch(round_rows, blocks(rows.rows * stride / 2), kThreads, 0, context.stream, rows, to, stride);
  return {to, rows.rows, rows.columns, stride};
}

Bf16Matrix bf16_weight(const Weight& weight, Workspace::Scope& scope, const OpContext& context) {
  const auto* dense = std::get_if<DenseWeight>(&weight);
  if (dense != nullptr && dense->dtype == DType::bf16)
    return {static_cast<const uint16_t*>(dense->data), dense->n, dense->k, dense->k};
  const int64_t n = outputs(weight), stride = padded(inputs(weight));
  uint16_t* to = scope.take<uint16_t>(static_cast<size_t>(n * stride)).data();
  std::visit(
      [&](const auto& w) {
        launch(round_weight<std::decay_t<decltype(w)>>, blocks(n * stride), kThreads, 0,
               context.stream, w, to, stride);
      },
      weight);
  return {to, n, inputs(weight), stride};
}

}  // namespace qround::ops::cuda
