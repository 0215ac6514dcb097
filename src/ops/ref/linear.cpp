#include "ops/linear.h"

#include "ops/ref/weight_value.h"

namespace qround::ops::ref {

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
  for (int64_t n = 0; n < n_outputs; ++n) {
    dequantize_rows(weight, n, n + 1, w.data());
    for (int64_t t = 0; t < rows; ++t) {
      float sum = 0;
      for (int64_t k = 0; k < n_inputs; ++k) sum += x[t * n_inputs + k] * w[k];
      y[t * n_outputs + n] = sum;
    }
  }
}

}  // namespace qround::ops::ref
