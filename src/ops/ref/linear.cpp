#include "ops/linear.h"

#include <algorithm>
#include <cmath>

#include "ops/ref/bf16_inputs.h"
#include "ops/ref/weight_value.h"

namespace qround::ops::ref {
namespace {

// The groups in which a weight reads its inputs rounded to int8; 0: as they are.
int64_t int8_group(const DenseWeight&) { return 0; }
int64_t int8_group(const Int8Weight& weight) { return weight.group_size; }
int64_t int8_group(const Int4Weight& weight) {
  bool shuffled = false;
  for (int64_t k = 0; weight.g_idx != nullptr && k < weight.k; ++k)
    shuffled = shuffled || weight.g_idx[k] != k / weight.group_size;
  return !shuffled && weight.group_size % 8 == 0 && weight.group_size <= 256 ? weight.group_size
                                                                             : 0;
}

void round_group(const float* x, int64_t count, float* rounded) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  const float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
  for (int64_t i = 0; i < count; ++i)
    rounded[i] = largest / 127.0f * std::nearbyint(x[i] * inverse);
}

}  // namespace

void dequantize_rows(const Weight& weight, int64_t begin, int64_t end, float* out) {
  std::visit(
      [&](const auto& w) {
        for (int64_t n = begin; n < end; ++n)
          for (int64_t k = 0; k < w.k; ++k) *out++ = weight_value(w, n, k);
      },
      weight);
}

void linear(const Weight& weight, const float* x, int64_t rows, float* y,
            const OpContext& context) {
  const int64_t n_outputs = outputs(weight), n_inputs = inputs(weight);
  Workspace::Scope scope(context.workspace);
  const auto w = scope.take<float>(static_cast<size_t>(n_inputs));
  const int64_t group = std::visit([](const auto& format) { return int8_group(format); }, weight);
  if (context.activations == Activations::int8 && group > 0) {
    const auto rounded = scope.take<float>(static_cast<size_t>(rows * n_inputs));
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t k = 0; k < n_inputs; k += group)
        round_group(x + t * n_inputs + k, std::min(group, n_inputs - k),
                    rounded.data() + t * n_inputs + k);
    x = rounded.data();
  }
  const bool bf16 = reads_bf16_inputs(weight, context);
  for (int64_t n = 0; n < n_outputs; ++n) {
    dequantize_rows(weight, n, n + 1, w.data());
    for (int64_t t = 0; t < rows; ++t) {
      float sum = 0;
      for (int64_t k = 0; k < n_inputs; ++k) sum += operand(x[t * n_inputs + k], bf16) * w[k];
      y[t * n_outputs + n] = sum;
    }
  }
}

}  // namespace qround::ops::ref
