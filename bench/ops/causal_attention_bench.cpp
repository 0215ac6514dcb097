#include <vector>

#include "bench/ops/roof_meter.h"
#include "ops/causal_attention.h"

namespace qround::ops {
namespace {

constexpr int64_t kHeads = 16, kKvHeads = 2, kHeadDim = 256;

void causal_attention(benchmark::State& state) {
  const int64_t tokens = state.range(0), context = state.range(1);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> q(static_cast<size_t>(tokens * kHeads * kHeadDim), 0.1f);
  const std::vector<float> keys(static_cast<size_t>(context * kKvHeads * kHeadDim), 0.1f);
  const std::vector<float> values(keys.size(), 0.2f);
  std::vector<float> out(q.size());
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::causal_attention({.q = q.data(),
                           .keys = keys.data(),
                           .values = values.data(),
                           .out = out.data(),
                           .tokens = tokens,
                           .context = context,
                           .heads = kHeads,
                           .kv_heads = kKvHeads,
                           .head_dim = kHeadDim,
                           .scale = 0.0625f},
                          {.threads = threads, .workspace = workspace});
  const double seen = static_cast<double>(context - tokens) + 0.5 * static_cast<double>(tokens + 1);
  meter.report(state, 8.0 * static_cast<double>(context * kKvHeads * kHeadDim),
               4.0 * seen * static_cast<double>(tokens * kHeads * kHeadDim));
}
BENCHMARK(causal_attention)
    ->ArgNames({"tokens", "context"})
    ->Args({1, 512})
    ->Args({1, 4096})
    ->Args({1, 100000})
    ->Args({4, 4096})
    ->Args({512, 512})
    ->Args({512, 4096})
    ->UseRealTime();

}  // namespace
}  // namespace qround::ops
