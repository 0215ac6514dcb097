#include <vector>

#include "bench/ops/roof_meter.h"
#include "ops/gating.h"

namespace qround::ops {
namespace {

void swiglu(benchmark::State& state) {
  const int64_t count = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> gate(static_cast<size_t>(count), 0.1f);
  std::vector<float> out(gate.size());
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::swiglu(gate.data(), gate.data(), count, out.data(),
                {.threads = threads, .workspace = workspace});
  meter.report(state, 12.0 * static_cast<double>(count), 0);
}
BENCHMARK(swiglu)->ArgName("count")->Arg(512)->Arg(512 * 512)->UseRealTime();

void sigmoid_gate(benchmark::State& state) {
  constexpr int64_t kWidth = 4096;
  const int64_t rows = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> gate(static_cast<size_t>(rows * kWidth), 30.0f);
  std::vector<float> x(gate.size(), 1.0f);
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::sigmoid_gate(
        {.x = x.data(), .gate = gate.data(), .rows = rows, .width = kWidth, .gate_width = kWidth},
        {.threads = threads, .workspace = workspace});
  meter.report(state, 12.0 * static_cast<double>(rows * kWidth), 0);
}
BENCHMARK(sigmoid_gate)->ArgName("rows")->Arg(1)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
