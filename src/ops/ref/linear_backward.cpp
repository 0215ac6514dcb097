#include <algorithm>

#include "ops/linear.h"
#include "ops/ref/bf16_inputs.h"
#include "ops/weight_gradient.h"

namespace qround::ops::ref {

void linear_backward_input(const Weight& weight, const LinearBackwardInputArgs& args,
                           const OpContext& context) {
  const int64_t n_outputs = outputs(weight), n_inputs = inputs(weight);
  if (!args.add_to_dx) std::fill(args.dx, args.dx + args.rows * n_inputs, 0.0f);
  Workspace::Scope scope(context.workspace);
  const auto w = scope.take<float>(static_cast<size_t>(n_inputs));
  const bool bf16 = reads_bf16_inputs(weight, context);
  for (int64_t n = 0; n < n_outputs; ++n) {
    dequantize_rows(weight, n, n + 1, w.data());
    for (int64_t t = 0; t < args.rows; ++t) {
      const float dy = operand(args.dy[t * n_outputs + n], bf16);
      for (int64_t k = 0; k < n_inputs; ++k) args.dx[t * n_inputs + k] += dy * w[k];
    }
  }
}

// One row is a tile.
void weight_gradient_tiles(std::span<const WeightGradientJob> jobs, const WeightGradientSink& sink,
                           const OpContext& context) {
  const bool bf16 = context.activations == Activations::bf16;
  for (const WeightGradientJob& job : jobs) {
    if (!sink.wants(job.matrix)) continue;
    Workspace::Scope scope(context.workspace);
    const auto row = scope.take<float>(static_cast<size_t>(job.k));
    for (int64_t n = 0; n < job.n; ++n) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (int64_t t = 0; t < job.rows; ++t) {
        const float dy = operand(job.dy[t * job.dy_stride + n], bf16);
        for (int64_t k = 0; k < job.k; ++k)
          row[k] += dy * operand(job.x[t * job.x_stride + k], bf16);
      }
      deliver(sink,
              {.matrix = job.matrix,
               .row_begin = n,
               .row_end = n + 1,
               .k = job.k,
               .values = row.data(),
               .worker = 0},
              sign_round_step, sign_round, context);
    }
  }
}

}  // namespace qround::ops::ref
