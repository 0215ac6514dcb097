// A block per row makes the row's part of the loss and its gradient; one block adds the rows up.
// Threads sum in f32 (a row has a few terms for each), everything beyond is double.
#include "ops/cuda/reduce.h"
#include "ops/squared_error.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void row_errors(SquaredErrorArgs args, double* row_losses) {
  const int64_t row = blockIdx.x, first = row * args.width;
  const auto count = static_cast<double>(args.rows * args.width);
  double weight = 1;
  if (args.row_weight == RowWeight::inverse_energy) {
    float energy = 0;
    for (int64_t i = threadIdx.x; i < args.width; i += kThreads)
      energy += args.target[first + i] * args.target[first + i];
    const double mean =
        block_sum<kThreads>(static_cast<double>(energy)) / static_cast<double>(args.width);
    weight = 1 / (mean > kLeastMeanSquare ? mean : kLeastMeanSquare);
  }
  const auto factor = static_cast<float>(2 * args.gradient_scale * weight / count);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < args.width; i += kThreads) {
    const float error = args.y[first + i] - args.target[first + i];
    sum += error * error;
    if (args.dy != nullptr) args.dy[first + i] = factor * error;
  }
  const double total = block_sum<kThreads>(static_cast<double>(sum));
  if (threadIdx.x == 0) row_losses[row] = weight * total;
}

__global__ void add_up(const double* row_losses, int64_t rows, double count, double* loss) {
  double sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kThreads) sum += row_losses[row];
  const double total = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *loss = total / count;
}

}  // namespace

void squared_error(const SquaredErrorArgs& args, const OpContext& context) {
  Workspace::Scope scope(context.workspace);
  double* row_losses = scope.take<double>(static_cast<size_t>(args.rows)).data();
  launch(row_errors, dim3(static_cast<unsigned>(args.rows)), kThreads, 0, context.stream, args,
         row_losses);
  launch(add_up, 1, kThreads, 0, context.stream, row_losses, args.rows,
         static_cast<double>(args.rows * args.width), args.loss);
}

}  // namespace qround::ops::cuda
