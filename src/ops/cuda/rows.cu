#include <cmath>

#include "ops/cuda/elements.h"
#include "ops/cuda/reduce.h"
#include "ops/cuda/weight_value.h"
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

template <class AnyWeight>
__global__ void embed_elements(AnyWeight table, EmbedArgs args) {
  const int64_t i = element_index();
  if (i < args.rows * table.k)
    args.out[i] = weight_value(table, args.ids[i / table.k] * table.k + i % table.k);
}

struct Largest {
  float value = -INFINITY;
  int32_t place = INT32_MAX;

  // By value, then by place: the order in which candidates come does not matter.
  __device__ void take(const Largest& other) {
    if (other.value > value || (other.value == value && other.place < place)) *this = other;
  }
};

__device__ Largest warp_largest(Largest largest) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2)
    largest.take({__shfl_xor_sync(kAllLanes, largest.value, distance),
                  __shfl_xor_sync(kAllLanes, largest.place, distance)});
  return largest;
}

// A warp takes a slice of a row: slices [rows, kSlices].
constexpr int kSlices = 128, kSliceWarps = kElementBlock / kWarpLanes;
__global__ void largest_in_slices(LargestInRowsArgs args, Largest* slices) {
  const int slice = static_cast<int>(blockIdx.x * kSliceWarps + threadIdx.x / kWarpLanes);
  const int64_t first = args.width * slice / kSlices, last = args.width * (slice + 1) / kSlices;
  const float* x = args.x + blockIdx.y * args.width;
  Largest largest;
  for (int64_t i = first + threadIdx.x % kWarpLanes; i < last; i += kWarpLanes)
    largest.take({x[i], static_cast<int32_t>(i)});
  largest = warp_largest(largest);
  if (threadIdx.x % kWarpLanes == 0) slices[int64_t{blockIdx.y} * kSlices + slice] = largest;
}

// A warp takes a row.
__global__ void largest_of_slices(const Largest* slices, int32_t* places) {
  Largest largest;
  for (int slice = static_cast<int>(threadIdx.x); slice < kSlices; slice += kWarpLanes)
    largest.take(slices[int64_t{blockIdx.x} * kSlices + slice]);
  largest = warp_largest(largest);
  if (threadIdx.x == 0) places[blockIdx.x] = largest.place == INT32_MAX ? 0 : largest.place;
}

// A block takes 32 columns: thread (slice, column) sums every eighth row, then slices add up.
__global__ void sum_columns(ColumnSquaresArgs args) {
  constexpr int kSumSlices = kSumThreads / kSumColumns;
  __shared__ double sums[kSumSlices][kSumColumns];
  const int column = static_cast<int>(threadIdx.x) % kSumColumns;
  const int slice = static_cast<int>(threadIdx.x) / kSumColumns;
  const int64_t k = int64_t{blockIdx.x} * kSumColumns + column;
  double sum = 0;
  for (int64_t row = slice; row < args.rows && k < args.k; row += kSumSlices) {
    const double x = args.x[row * args.k + k];
    const double weight = args.weights == nullptr ? 1.0 : static_cast<double>(args.weights[row]);
    sum += weight * weight * x * x;
  }
  sums[slice][column] = sum;
  __syncthreads();
  if (slice != 0 || k >= args.k) return;
  double total = 0;
  for (int part = 0; part < kSumSlices; ++part) total += sums[part][column];
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

void embed(const Weight& table, const EmbedArgs& args, const OpContext& context) {
  std::visit(
      [&](const auto& w) {
        launch_elements(embed_elements<std::decay_t<decltype(w)>>, args.rows * w.k, context.stream,
                        w, args);
      },
      table);
}

void largest_in_rows(const LargestInRowsArgs& args, const OpContext& context) {
  Workspace::Scope scope(context.workspace);
  Largest* slices = scope.take<Largest>(static_cast<size_t>(args.rows * kSlices)).data();
  const auto rows = static_cast<unsigned>(args.rows);
  launch(largest_in_slices, dim3(kSlices / kSliceWarps, rows), kElementBlock, 0, context.stream,
         args, slices);
  launch(largest_of_slices, rows, kWarpLanes, 0, context.stream, slices, args.places);
}

}  // namespace qround::ops::cuda
