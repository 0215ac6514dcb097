#include <vector>

#include "bench/ops/roof_meter.h"
#include "ops/causal_conv1d.h"

namespace qround::ops {
namespace {

void causal_conv1d(benchmark::State& state) {
  constexpr int64_t kChannels = 8192, kTaps = 4;
  const int64_t tokens = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> u(static_cast<size_t>(tokens * kChannels), 0.1f);
  const std::vector<float> weight(kChannels * kTaps, 0.2f);
  std::vector<float> history(kChannels * (kTaps - 1)), out(u.size());
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::causal_conv1d_silu({.u = u.data(),
                             .weight = weight.data(),
                             .history = history.data(),
                             .out = out.data(),
                             .tokens = tokens,
                             .channels = kChannels,
                             .taps = kTaps},
                            {.threads = threads, .workspace = workspace});
  meter.report(state, 8.0 * static_cast<double>(tokens * kChannels), 0);
}
BENCHMARK(causal_conv1d)->ArgName("tokens")->Arg(1)->Arg(64)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
