#include <benchmark/benchmark.h>

#include <vector>

#include "ops/rotary_embedding.h"

namespace qround::ops {
namespace {

void rotary_embedding(benchmark::State& state) {
  constexpr int64_t kHeads = 16, kHeadDim = 256, kRotaryDim = 64;
  const int64_t tokens = state.range(0);
  Workspace workspace;
  std::vector<float> x(static_cast<size_t>(tokens * kHeads * kHeadDim), 0.1f);
  const std::vector<int64_t> positions(static_cast<size_t>(tokens), 12345);
  const std::vector<float> inverse_frequencies(kRotaryDim / 2, 0.01f);
  for (auto _ : state)
    cpu::rotary_embedding({.x = x.data(),
                           .positions = positions.data(),
                           .inverse_frequencies = inverse_frequencies.data(),
                           .tokens = tokens,
                           .heads = kHeads,
                           .head_dim = kHeadDim,
                           .rotary_dim = kRotaryDim},
                          {.threads = Threads::all(), .workspace = workspace});
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(rotary_embedding)->ArgName("tokens")->Arg(1)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
