// dW = dyᵀ x: both factors are read by columns, through the transposing ldmatrix. A block makes
// 128 x 128 of dW and either turns it into sign steps (sign_round_epilogue.h) or writes it down for
// a function on the host.
#include "ops/cuda/sign_round_epilogue.h"
#include "ops/weight_gradient.h"

namespace qround::ops::cuda {
namespace {

using Gradient = Product<Layout::k_major, Layout::k_major>;
constexpr int kSharedBytes =
    Gradient::kSharedBytes > kGradientBytes ? Gradient::kSharedBytes : kGradientBytes;

struct Factors {
  Bf16Matrix dy, x;
};

// Rows from blockIdx.y's tile, columns from blockIdx.x's.
__device__ void make_tile(const Factors& f, Gradient& product) {
  const Gradient::LoaderA<PlainRows> a(f.dy.plain_rows(), int64_t{blockIdx.y} * kTile, f.dy.columns,
                                       f.dy.aligned());
  const Gradient::LoaderB<PlainRows> b(f.x.plain_rows(), int64_t{blockIdx.x} * kTile, f.x.columns,
                                       f.x.aligned());
  product.run(a, b, f.x.rows, dynamic_shared<uint16_t>());
}

__global__ void __launch_bounds__(Gradient::kThreads, 2)
    step_weights(Factors f, SignRoundTask task) {
  Gradient product;
  make_tile(f, product);
  const float* gradient = gradient_in_shared(product, dynamic_shared<float>());
  step_tile<Gradient::kThreads>(task, gradient, int64_t{blockIdx.y} * kTile,
                                int64_t{blockIdx.x} * kTile);
}

__global__ void __launch_bounds__(Gradient::kThreads, 2) write_gradient(Factors f, float* values) {
  Gradient product;
  make_tile(f, product);
  product.for_each_pair([&](int tile_row, int tile_column, float value, float next) {
    const int64_t row = int64_t{blockIdx.y} * kTile + tile_row;
    const int64_t column = int64_t{blockIdx.x} * kTile + tile_column;
    if (row >= f.dy.columns) return;
    if (column < f.x.columns) values[row * f.x.columns + column] = value;
    if (column + 1 < f.x.columns) values[row * f.x.columns + column + 1] = next;
  });
}

void hand_over(const WeightGradientJob& job, const Factors& f,
               const WeightGradientConsumer& consume, Workspace::Scope& scope,
               const OpContext& context) {
  const auto count = static_cast<size_t>(job.n * job.k);
  float* values = scope.take<float>(count).data();
  launch(write_gradient, dim3(tiles_of(job.k), tiles_of(job.n)), Gradient::kThreads,
         Gradient::kSharedBytes, context.stream, f, values);
  std::vector<float> on_host(count);
  context.workspace.memory().download(on_host.data(), values, count * sizeof(float),
                                      context.stream);
  consume({.matrix = job.matrix,
           .row_begin = 0,
           .row_end = job.n,
           .k = job.k,
           .values = on_host.data(),
           .worker = 0});
}

bool same_x(const WeightGradientJob& a, const WeightGradientJob& b) {
  return a.x == b.x && a.x_stride == b.x_stride && a.rows == b.rows && a.k == b.k;
}

}  // namespace

void weight_gradient_tiles(std::span<const WeightGradientJob> jobs, const WeightGradientSink& sink,
                           const OpContext& context) {
  Workspace::Scope scope(context.workspace);
  const WeightGradientJob* last = nullptr;  // whose x was rounded
  Bf16Matrix x;
  for (const WeightGradientJob& job : jobs) {
    if (!sink.wants(job.matrix)) continue;
    if (last == nullptr || !same_x(job, *last))
      x = round_to_bf16({job.x, job.rows, job.k, job.x_stride}, scope, context);
    last = &job;
    Workspace::Scope of_job(context.workspace);
    const Factors f{round_to_bf16({job.dy, job.rows, job.n, job.dy_stride}, of_job, context), x};
    if (sink.update == nullptr) {
      hand_over(job, f, *sink.consume, of_job, context);
      continue;
    }
    const SignRoundTask task{sink.update->targets[static_cast<size_t>(job.matrix)],
                             sink.update->rule, sink.update->sizes};
    launch(step_weights, dim3(tiles_of(job.k), tiles_of(job.n)), Gradient::kThreads, kSharedBytes,
           context.stream, f, task);
  }
}

}  // namespace qround::ops::cuda
