#include "bench/ops/roof_meter.h"
#include "bench/ops/weight_pool.h"
#include "ops/linear.h"

namespace qround::ops {
namespace {

void run_linear(benchmark::State& state, WeightPool pool, int64_t n, int64_t k,
                Activations activations = Activations::f32) {
  const int64_t rows = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> x(static_cast<size_t>(rows * k), 0.5f);
  std::vector<float> y(static_cast<size_t>(rows * n));
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::linear(pool.next(), x.data(), rows, y.data(),
                {.threads = threads, .workspace = workspace, .activations = activations});
  meter.report(state, pool.bytes_each(), 2.0 * static_cast<double>(rows * n * k));
}

void linear_bf16(benchmark::State& state) {
  const int64_t n = state.range(1), k = state.range(2);
  run_linear(state, WeightPool::bf16(n, k), n, k);
}
void linear_int4(benchmark::State& state) {
  const int64_t n = state.range(1), k = state.range(2);
  run_linear(state, WeightPool::int4(n, k), n, k);
}
void linear_int4_int8(benchmark::State& state) {
  const int64_t n = state.range(1), k = state.range(2);
  run_linear(state, WeightPool::int4(n, k), n, k, Activations::int8);
}

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "N", "K"})->UseRealTime();
  for (const int64_t rows : {1, 2, 4, 8, 16, 64, 512}) benchmark->Args({rows, 8192, 2048});
  for (const int64_t rows : {1, 16}) benchmark->Args({rows, 2048, 512})->Args({rows, 512, 2048});
}
BENCHMARK(linear_bf16)->Apply(cases);
BENCHMARK(linear_int4)->Apply(cases);
BENCHMARK(linear_int4_int8)->Apply(cases);

}  // namespace
}  // namespace qround::ops
