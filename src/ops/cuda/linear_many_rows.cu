#include "ops/cuda/dense_product.h"
#include "ops/cuda/linear_many_rows.h"
#include "ops/cuda/matrix_library.h"

namespace qround::ops::cuda {
namespace {

using Forward = Product<Layout::k_contiguous, Layout::k_contiguous>;
using BackwardInput = Product<Layout::k_contiguous, Layout::k_major>;

// The blocks of a result's column of tiles follow each other: they read the same part of W.
struct Place {
  int64_t row, column;
  __device__ Place() : row(int64_t{blockIdx.x} * kTile), column(int64_t{blockIdx.y} * kTile) {}
};

struct F32Result {
  float* data = nullptr;
  int64_t rows = 0, columns = 0;
  bool add = false;

  __device__ void put(int64_t row, int64_t column, float value, float next) const {
    if (row >= rows) return;
    put_one(row, column, value);
    put_one(row, column + 1, next);
  }

 private:
  __device__ void put_one(int64_t row, int64_t column, float value) const {
    if (column >= columns) return;
    float* to = data + row * columns + column;
    *to = add ? *to + value : value;
  }
};

__global__ void __launch_bounds__(Forward::kThreads, 2)
    forward(Bf16Matrix x, Bf16Matrix w, F32Result y) {
  const Place place;
  Forward product;
  const Forward::LoaderA<PlainRows> a(x.plain_rows(), place.row, x.columns, x.aligned());
  const Forward::LoaderB<PlainRows> b(w.plain_rows(), place.column, w.columns, w.aligned());
  product.run(a, b, x.columns, dynamic_shared<uint16_t>());
  product.for_each_pair([&](int row, int column, float value, float next) {
    y.put(place.row + row, place.column + column, value, next);
  });
}

__global__ void __launch_bounds__(BackwardInput::kThreads, 2)
    backward_input(Bf16Matrix dy, Bf16Matrix w, F32Result dx) {
  const Place place;
  BackwardInput product;
  const BackwardInput::LoaderA<PlainRows> a(dy.plain_rows(), place.row, dy.columns, dy.aligned());
  const BackwardInput::LoaderB<PlainRows> b(w.plain_rows(), place.column, w.columns, w.aligned());
  product.run(a, b, dy.columns, dynamic_shared<uint16_t>());
  product.for_each_pair([&](int row, int column, float value, float next) {
    dx.put(place.row + row, place.column + column, value, next);
  });
}

}  // namespace

void linear_many_rows(const Weight& weight, const float* x, int64_t rows, float* y,
                      const OpContext& context) {
  const int64_t n = outputs(weight), k = inputs(weight);
  Workspace::Scope scope(context.workspace);
  const Bf16Matrix of_x = round_to_bf16({x, rows, k, k}, scope, context);
  const Bf16Matrix w = bf16_weight(weight, scope, context);
  const auto scratch = scope.take<std::byte>(kLibraryScratchBytes);
  if (library_multiply({.a = of_x, .b = w, .d = y}, scratch.data(), context.stream)) return;
  launch(forward, dim3(tiles_of(rows), tiles_of(n)), Forward::kThreads, Forward::kSharedBytes,
         context.stream, of_x, w, F32Result{y, rows, n});
}

void linear_backward_input(const Weight& weight, const LinearBackwardInputArgs& args,
                           const OpContext& context) {
  const int64_t n = outputs(weight), k = inputs(weight);
  Workspace::Scope scope(context.workspace);
  const Bf16Matrix dy = round_to_bf16({args.dy, args.rows, n, n}, scope, context);
  const Bf16Matrix w = bf16_weight(weight, scope, context);
  const auto scratch = scope.take<std::byte>(kLibraryScratchBytes);
  const LibraryProduct product{
      .a = dy, .b = w, .by_depth = true, .d = args.dx, .add = args.add_to_dx};
  if (library_multiply(product, scratch.data(), context.stream)) return;
  launch(backward_input, dim3(tiles_of(args.rows), tiles_of(k)), BackwardInput::kThreads,
         BackwardInput::kSharedBytes, context.stream, dy, w,
         F32Result{args.dx, args.rows, k, args.add_to_dx});
}

}  // namespace qround::ops::cuda
