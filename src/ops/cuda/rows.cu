#include "ops/cuda/elements.h"
#include "ops/rows.h"

namespace qround::ops::cuda {
namespace {

constexpr int kSumThreads = 256;  // of which each takes some rows of one column
constexpr int kSumColumns = 32;

__global__ void add_elements(const float* x, float* sum, int64_t count) {
  const int64_t i = element_index();
  if (i < count) sum[i] += x[i];
}

__global__ void copy_elements(CopyRowsArgs args) {
  const int64_t i = element_index();
  if (i >= args.rows * args.width) return;
  const int64_t row = i / args.width, column = i % args.width;
  args.out[row * args.out_stride + column] = args.x[row * args.x_stride + column];
}

__global__ void gather_elements(GatherRowsArgs args) {
  const int64_t i = element_index();
  if (i >= args.rows * args.width) return;
  const int64_t row = i / args.width, column = i % args.width;
  args.out[i] = args.x[args.choices[row] / args.choices_per_row * args.width + column];
}

// A block takes 32 columns: thread (slice, column) sums every eighth row, then slices add up.
__global__ void sum_columns(ColumnSquaresArgs args) {
  constexpr int kSlices = kSumThreads / kSumColumns;
  __shared__ double sums[kSlices][kSumColumns];
  const int column = static_cast<int>(threadIdx.x) % kSumColumns;
  const int slice = static_cast<int>(threadIdx.x) / kSumColumns;
  const int64_t k = int64_t{blockIdx.x} * kSumColumns + column;
  double sum = 0;
  for (int64_t row = slice; row < args.rows && k < args.k; row += kSlices) {
    const double x = args.x[row * args.k + k];
    const double weight = args.weights == nullptr ? 1.0 : static_cast<double>(args.weights[row]);
    sum += weight * weight * x * x;
  }
  sums[slice][column] = sum;
  __syncthreads();
  if (slice != 0 || k >= args.k) return;
  double total = 0;
  for (int part = 0; part < kSlices; ++part) total += sums[part][column];
  args.squares[k] = total;
}

}  // namespace

void add(const float* x, float* sum, int64_t count, const OpContext& context) {
  launch_elements(add_elements, count, context.stream, x, sum, count);
}

void copy_rows(const CopyRowsArgs& args, const OpContext& context) {
  launch_elements(copy_elements, args.rows * args.width, context.stream, args);
}

void gather_rows(const GatherRowsArgs& args, const OpContext& context) {
  launch_elements(gather_elements, args.rows * args.width, context.stream, args);
}

void column_squares(const ColumnSquaresArgs& args, const OpContext& context) {
  const auto blocks = static_cast<unsigned>((args.k + kSumColumns - 1) / kSumColumns);
  launch(sum_columns, blocks, kSumThreads, 0, context.stream, args);
}

}  // namespace qround::ops::cuda
