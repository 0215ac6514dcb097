#include <vector>

#include "bench/ops/roof_meter.h"
#include "ops/rms_norm.h"

namespace qround::ops {
namespace {

void zero_centered_rms_norm(benchmark::State& state) {
  constexpr int64_t kWidth = 2048;
  const int64_t rows = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> x(static_cast<size_t>(rows * kWidth), 0.1f), weight(kWidth, 0.2f);
  std::vector<float> y(x.size());
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::zero_centered_rms_norm(x.data(), weight.data(), {.rows = rows, .width = kWidth}, y.data(),
                                {.threads = threads, .workspace = workspace});
  meter.report(state, 8.0 * static_cast<double>(rows * kWidth), 0);
}
BENCHMARK(zero_centered_rms_norm)->ArgName("rows")->Arg(1)->Arg(512)->UseRealTime();

void gated_rms_norm(benchmark::State& state) {
  constexpr int64_t kWidth = 128;
  const int64_t rows = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const std::vector<float> x(static_cast<size_t>(rows * kWidth), 0.1f), weight(kWidth, 0.2f);
  std::vector<float> y(x.size());
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::gated_rms_norm(x.data(), x.data(), weight.data(), {.rows = rows, .width = kWidth},
                        y.data(), {.threads = threads, .workspace = workspace});
  meter.report(state, 12.0 * static_cast<double>(rows * kWidth), 0);
}
BENCHMARK(gated_rms_norm)->ArgName("rows")->Arg(32)->Arg(32 * 512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
