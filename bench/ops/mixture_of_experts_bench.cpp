#include <set>

#include "bench/ops/roof_meter.h"
#include "bench/ops/weight_pool.h"
#include "ops/mixture_of_experts.h"

namespace qround::ops {
namespace {

constexpr int64_t kHidden = 2048, kInner = 512, kExperts = 256, kChosen = 8;

std::vector<SwigluWeights> make_experts(const WeightPool& into, const WeightPool& out_of) {
  std::vector<SwigluWeights> experts;
  for (size_t e = 0; e < kExperts; ++e)
    experts.push_back({into.all()[2 * e], into.all()[2 * e + 1], out_of.all()[e]});
  return experts;
}

// The int4 experts of one layer of a 35B-A3B, uniformly chosen: 418 MB, of which a token touches 8
// experts, 512 tokens all of them.
void run_experts(benchmark::State& state, Activations activations) {
  const int64_t tokens = state.range(0);
  const Threads threads = Threads::all();
  const WeightPool into = WeightPool::int4(kInner, kHidden);
  const WeightPool out_of = WeightPool::int4(kHidden, kInner);
  const std::vector<SwigluWeights> weights = make_experts(into, out_of);
  Workspace workspace;
  const std::vector<float> x(static_cast<size_t>(tokens * kHidden), 0.5f);
  const std::vector<float> shares(static_cast<size_t>(tokens * kChosen), 1.0f / kChosen);
  // Several draws, so that decoding finds no expert in the cache.
  constexpr size_t kDraws = 16;
  const size_t n_choices = shares.size();
  std::vector<int32_t> chosen(kDraws * n_choices);
  uint32_t random = 1;
  for (int32_t& expert : chosen) {
    random = random * 1664525u + 1013904223u;
    expert = static_cast<int32_t>(random >> 24);
  }
  double touched = 0;
  for (size_t draw = 0; draw < kDraws; ++draw) {
    const auto first = chosen.begin() + static_cast<ptrdiff_t>(draw * n_choices);
    const std::set<int32_t> distinct(first, first + static_cast<ptrdiff_t>(n_choices));
    touched += static_cast<double>(distinct.size()) / kDraws;
  }
  std::vector<float> out(x.size());
  size_t draw = 0;
  RoofMeter meter(threads);
  meter.start();
  for (auto _ : state)
    cpu::experts({.x = x.data(),
                  .experts = chosen.data() + draw++ % kDraws * n_choices,
                  .weights = shares.data(),
                  .expert_weights = weights,
                  .out = out.data(),
                  .tokens = tokens,
                  .hidden = kHidden,
                  .n_chosen = kChosen},
                 {.threads = threads, .workspace = workspace, .activations = activations});
  meter.report(state, touched * (2 * into.bytes_each() + out_of.bytes_each()),
               6.0 * static_cast<double>(n_choices * kHidden * kInner));
}

void experts_int4(benchmark::State& state) { run_experts(state, Activations::f32); }
void experts_int4_int8(benchmark::State& state) { run_experts(state, Activations::int8); }

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("tokens")->UseRealTime();
  for (const int64_t tokens : {1, 2, 4, 16, 64, 512}) benchmark->Arg(tokens);
}
BENCHMARK(experts_int4)->Apply(cases);
BENCHMARK(experts_int4_int8)->Apply(cases);

void route(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Workspace workspace;
  std::vector<float> logits(static_cast<size_t>(tokens * kExperts));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 2654435761u % 1000);
  std::vector<int32_t> chosen(static_cast<size_t>(tokens * kChosen));
  std::vector<float> shares(chosen.size());
  for (auto _ : state)
    cpu::route({.logits = logits.data(),
                .experts = chosen.data(),
                .weights = shares.data(),
                .tokens = tokens,
                .n_experts = kExperts,
                .n_chosen = kChosen},
               {.threads = Threads::all(), .workspace = workspace});
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(route)->ArgName("tokens")->Arg(1)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace qround::ops
