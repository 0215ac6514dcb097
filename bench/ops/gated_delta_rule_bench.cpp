#include <vector>

#include "bench/ops/roof_meter.h"
#include "ops/gated_delta_rule.h"

namespace qround::ops {
namespace {

constexpr int64_t kKeyHeads = 16, kValueHeads = 32, kDim = 128;
constexpr int64_t kLayers = 30;  // states one after the other, as a model has them: 60 MiB

void gated_delta_rule(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const Threads threads = Threads::all();
  Workspace workspace;
  const auto count = [&](int64_t heads) { return static_cast<size_t>(tokens * heads * kDim); };
  const std::vector<float> q(count(kKeyHeads), 0.01f), k(count(kKeyHeads), 0.08f),
      v(count(kValueHeads), 0.1f);
  const std::vector<float> log_decay(static_cast<size_t>(tokens * kValueHeads), -0.1f);
  const std::vector<float> beta(log_decay.size(), 0.5f);
  constexpr size_t kStateFloats = kValueHeads * kDim * kDim;
  std::vector<float> states(kLayers * kStateFloats), out(v.size());
  RoofMeter meter(threads);
  meter.start();
  size_t layer = 0;
  for (auto _ : state)
    cpu::gated_delta_rule({.q = q.data(),
                           .k = k.data(),
                           .v = v.data(),
                           .log_decay = log_decay.data(),
                           .beta = beta.data(),
                           .state = states.data() + layer++ % kLayers * kStateFloats,
                           .out = out.data(),
                           .tokens = tokens,
                           .key_heads = kKeyHeads,
                           .value_heads = kValueHeads,
                           .key_dim = kDim,
                           .value_dim = kDim,
                           .q_stride = kKeyHeads * kDim,
                           .k_stride = kKeyHeads * kDim,
                           .v_stride = kValueHeads * kDim},
                          {.threads = threads, .workspace = workspace});
  meter.report(state, 2 * sizeof(float) * static_cast<double>(kStateFloats),
               8.0 * static_cast<double>(tokens) * kStateFloats);
}
BENCHMARK(gated_delta_rule)
    ->ArgName("tokens")
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(16)
    ->Arg(64)
    ->Arg(512)
    ->UseRealTime();

void delta_rule_gates(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Workspace workspace;
  const std::vector<float> a(static_cast<size_t>(tokens * kValueHeads), 0.3f), head(kValueHeads, 1);
  std::vector<float> log_decay(a.size()), beta(a.size());
  for (auto _ : state)
    cpu::delta_rule_gates({.a = a.data(),
                           .b = a.data(),
                           .a_log = head.data(),
                           .dt_bias = head.data(),
                           .log_decay = log_decay.data(),
                           .beta = beta.data(),
                           .tokens = tokens,
                           .value_heads = kValueHeads},
                          {.threads = Threads::all(), .workspace = workspace});
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(delta_rule_gates)->ArgName("tokens")->Arg(1)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
