// Operations of tuning and of the engine on a backend with memory of its own, on the shapes of a
// 35B-A3B and of the `card` recipe (8 sequences of 2048 tokens):
//
//   build/cuda/cuda_bench [--backend=cuda] [--benchmark_filter=...] [--benchmark_out=FILE]
//
// A line has bytes/s beside what a copy inside the device's memory reaches (read and written bytes
// together, measured first), and flop/s. Not yet run on a GPU.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iostream>
#include <string>

#include "base/error.h"
#include "base/half.h"
#include "ops/backend.h"

namespace qround::ops {
namespace {

constexpr int64_t kHidden = 2048, kInner = 512, kExperts = 256, kChosen = 8, kGroup = 128;
constexpr int64_t kLength = 2048, kSequences = 8, kTokens = kLength * kSequences;

class Device {
 public:
  explicit Device(const OpTable& of_table)
      : table(of_table),
        memory(*of_table.memory),
        workspace(memory),
        context{.threads = Threads::all(), .workspace = workspace, .many_rows = true} {
    measure_copy();
  }

  Buffer<float> floats(int64_t count, float scale = 1) const {
    std::vector<float> values(static_cast<size_t>(count));
    uint32_t random = 1;
    for (float& value : values) {
      random = random * 1664525u + 1013904223u;
      value = scale * (static_cast<float>(random >> 8) * 0x1p-23f - 1);
    }
    return {memory, std::span<const float>(values)};
  }
  Buffer<uint16_t> bf16(int64_t count) const {
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = f32_to_bf16(0.02f * static_cast<float>(static_cast<int>(i * 7919 % 401) - 200) /
                              200);
    return {memory, std::span<const uint16_t>(values)};
  }
  template <typename T>
  Buffer<T> filled(int64_t count, T value) const {
    const std::vector<T> values(static_cast<size_t>(count), value);
    return {memory, std::span<const T>(values)};
  }
  template <typename T>
  Buffer<T> copy_of(const std::vector<T>& values) const {
    return {memory, std::span<const T>(values)};
  }

  // Runs `work` as often as the benchmark wants, until everything is done.
  template <class Work>
  void run(benchmark::State& state, const Work& work, double bytes, double flops) {
    work();
    memory.synchronize(context.stream);
    for (auto _ : state) {
      work();
      memory.synchronize(context.stream);
    }
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, rate);
    state.counters["roof_GB/s"] = copy_bytes_per_s_ / 1e9;
    if (flops > 0) state.counters["TFLOP/s"] = benchmark::Counter(flops / 1e12, rate);
  }

  const OpTable& table;
  const Memory& memory;
  Workspace workspace;
  OpContext context;

 private:
  void measure_copy() {
    constexpr int64_t kBytes = int64_t{1} << 28;
    constexpr int kTimes = 20;
    Buffer<std::byte> from(memory, kBytes), to(memory, kBytes);
    memory.copy(to.data(), from.data(), kBytes, context.stream);
    memory.synchronize(context.stream);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kTimes; ++i) memory.copy(to.data(), from.data(), kBytes, context.stream);
    memory.synchronize(context.stream);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    copy_bytes_per_s_ = 2.0 * kBytes * kTimes / time.count();
  }

  double copy_bytes_per_s_ = 0;
};

struct Int4Map {
  Buffer<uint32_t> codes, zeros;
  Buffer<uint16_t> scales;
  Int4Weight weight;

  Int4Map(const Device& device, int64_t n, int64_t k)
      : codes(device.filled(k / 8 * n, 0x76543210u)),
        zeros(device.filled(k / kGroup * ((n + 7) / 8), 0x77777777u)),
        scales(device.filled(k / kGroup * n, f32_to_f16(0.01f))),
        weight{.qweight = codes.data(),
               .qzeros = zeros.data(),
               .scales = scales.data(),
               .n = n,
               .k = k,
               .group_size = kGroup} {}
  static double bytes(int64_t n, int64_t k) {
    return static_cast<double>(n * k) / 2 + static_cast<double>(n * k) / kGroup * 2.5;
  }
};

// --- Engine --------------------------------------------------------------------------------------

void linear_int4(benchmark::State& state, Device& device) {
  const int64_t rows = state.range(0), n = 8192, k = kHidden;
  const Int4Map map(device, n, k);
  const auto x = device.floats(rows * k);
  Buffer<float> y(device.memory, rows * n);
  device.run(
      state,
      [&] { device.table.linear(map.weight, x.data(), rows, y.data(), device.context); },
      Int4Map::bytes(n, k) + 4.0 * static_cast<double>(rows * (n + k)),
      2.0 * static_cast<double>(rows * n * k));
}

void linear_bf16_few_rows(benchmark::State& state, Device& device) {
  const int64_t rows = state.range(0), n = 248320, k = kHidden;
  const auto w = device.bf16(n * k);
  const auto x = device.floats(rows * k);
  Buffer<float> y(device.memory, rows * n);
  OpContext context = device.context;
  context.many_rows = false;
  const DenseWeight weight{DType::bf16, w.data(), n, k};
  device.run(
      state, [&] { device.table.linear(weight, x.data(), rows, y.data(), context); },
      2.0 * static_cast<double>(n * k) + 4.0 * static_cast<double>(rows * (n + k)),
      2.0 * static_cast<double>(rows * n * k));
}

// Tokens choose 8 neighbouring experts each, all experts evenly.
std::vector<int32_t> choices(int64_t tokens) {
  std::vector<int32_t> experts;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t slot = 0; slot < kChosen; ++slot)
      experts.push_back(static_cast<int32_t>((t * kChosen + slot) % kExperts));
  return experts;
}

void experts_int4(benchmark::State& state, Device& device) {
  const int64_t tokens = state.range(0);
  std::vector<Int4Map> maps;
  std::vector<SwigluWeights> weights;
  for (int64_t e = 0; e < kExperts; ++e) {
    maps.emplace_back(device, kInner, kHidden);
    maps.emplace_back(device, kInner, kHidden);
    maps.emplace_back(device, kHidden, kInner);
    const size_t last = maps.size() - 1;
    weights.push_back({maps[last - 2].weight, maps[last - 1].weight, maps[last].weight});
  }
  const auto x = device.floats(tokens * kHidden);
  const auto chosen = device.copy_of(choices(tokens));
  const auto shares = device.filled(tokens * kChosen, 1.0f / kChosen);
  Buffer<float> out(device.memory, tokens * kHidden);
  const auto touched = static_cast<double>(std::min(kExperts, tokens * kChosen));
  device.run(
      state,
      [&] {
        device.table.experts({.x = x.data(),
                              .experts = chosen.data(),
                              .weights = shares.data(),
                              .expert_weights = weights,
                              .out = out.data(),
                              .tokens = tokens,
                              .hidden = kHidden,
                              .n_chosen = kChosen},
                             device.context);
      },
      touched * 3 * Int4Map::bytes(kInner, kHidden),
      6.0 * static_cast<double>(tokens * kChosen * kHidden * kInner));
}

void attention(benchmark::State& state, Device& device) {
  const int64_t tokens = state.range(0), context = state.range(1), heads = 16, kv = 2, dim = 256;
  const auto q = device.floats(tokens * heads * dim), keys = device.floats(context * kv * dim),
             values = device.floats(context * kv * dim);
  Buffer<float> out(device.memory, tokens * heads * dim);
  const double pairs = static_cast<double>(tokens) *
                       (static_cast<double>(context) - static_cast<double>(tokens - 1) / 2);
  device.run(
      state,
      [&] {
        device.table.causal_attention({.q = q.data(),
                                       .keys = keys.data(),
                                       .values = values.data(),
                                       .out = out.data(),
                                       .tokens = tokens,
                                       .context = context,
                                       .heads = heads,
                                       .kv_heads = kv,
                                       .head_dim = dim,
                                       .scale = 1.0f / 16},
                                      device.context);
      },
      8.0 * static_cast<double>(context * kv * dim + tokens * heads * dim),
      4.0 * pairs * static_cast<double>(heads * dim));
}

// --- The recurrence, engine and tuning -----------------------------------------------------------

struct RuleOperands {
  static constexpr int64_t kKeyHeads = 16, kValueHeads = 32, kDim = 128;
  Buffer<float> q, k, v, log_decay, beta;

  RuleOperands(const Device& device, int64_t tokens)
      : q(device.floats(tokens * kKeyHeads * kDim, 0.01f)),
        k(device.floats(tokens * kKeyHeads * kDim, 0.1f)),
        v(device.floats(tokens * kValueHeads * kDim)),
        log_decay(device.filled(tokens * kValueHeads, -0.05f)),
        beta(device.filled(tokens * kValueHeads, 0.5f)) {}
};

void delta_rule(benchmark::State& state, Device& device) {
  using R = RuleOperands;
  const int64_t tokens = state.range(0);
  const R r(device, tokens);
  auto s = device.filled(R::kValueHeads * R::kDim * R::kDim, 0.0f);
  Buffer<float> out(device.memory, tokens * R::kValueHeads * R::kDim);
  device.run(
      state,
      [&] {
        device.table.gated_delta_rule({.q = r.q.data(),
                                       .k = r.k.data(),
                                       .v = r.v.data(),
                                       .log_decay = r.log_decay.data(),
                                       .beta = r.beta.data(),
                                       .state = s.data(),
                                       .out = out.data(),
                                       .tokens = tokens,
                                       .key_heads = R::kKeyHeads,
                                       .value_heads = R::kValueHeads,
                                       .key_dim = R::kDim,
                                       .value_dim = R::kDim,
                                       .q_stride = R::kKeyHeads * R::kDim,
                                       .k_stride = R::kKeyHeads * R::kDim,
                                       .v_stride = R::kValueHeads * R::kDim},
                                      device.context);
      },
      8.0 * static_cast<double>(s.size()) + 16.0 * static_cast<double>(out.size()),
      7.0 * static_cast<double>(tokens * s.size()));
}

void delta_rule_backward(benchmark::State& state, Device& device) {
  using R = RuleOperands;
  const int64_t sequences = 2, tokens = sequences * kLength;
  const R r(device, tokens);
  const auto d_out = device.floats(r.v.size());
  Buffer<float> dq(device.memory, r.q.size()), dk(device.memory, r.k.size()),
      dv(device.memory, r.v.size()), d_log_decay(device.memory, r.beta.size()),
      d_beta(device.memory, r.beta.size());
  const int64_t key_stride = R::kKeyHeads * R::kDim, value_stride = R::kValueHeads * R::kDim;
  device.run(
      state,
      [&] {
        device.table.gated_delta_rule_backward({.q = r.q.data(),
                                                .k = r.k.data(),
                                                .v = r.v.data(),
                                                .log_decay = r.log_decay.data(),
                                                .beta = r.beta.data(),
                                                .d_out = d_out.data(),
                                                .dq = dq.data(),
                                                .dk = dk.data(),
                                                .dv = dv.data(),
                                                .d_log_decay = d_log_decay.data(),
                                                .d_beta = d_beta.data(),
                                                .sequences = sequences,
                                                .tokens = kLength,
                                                .key_heads = R::kKeyHeads,
                                                .value_heads = R::kValueHeads,
                                                .key_dim = R::kDim,
                                                .value_dim = R::kDim,
                                                .q_stride = key_stride,
                                                .k_stride = key_stride,
                                                .v_stride = value_stride,
                                                .dq_stride = key_stride,
                                                .dk_stride = key_stride,
                                                .dv_stride = value_stride},
                                               device.context);
      },
      4.0 * static_cast<double>(4 * r.q.size() + 3 * r.v.size()), 0);
}

// --- Tuning --------------------------------------------------------------------------------------

constexpr int64_t kMapOutputs = 8192;

void linear_many_rows(benchmark::State& state, Device& device) {
  const int64_t n = kMapOutputs, k = kHidden;
  const auto w = device.bf16(n * k);
  const auto x = device.floats(kTokens * k);
  Buffer<float> y(device.memory, kTokens * n);
  const DenseWeight weight{DType::bf16, w.data(), n, k};
  device.run(
      state, [&] { device.table.linear(weight, x.data(), kTokens, y.data(), device.context); },
      4.0 * static_cast<double>(kTokens * (n + k)), 2.0 * static_cast<double>(kTokens * n * k));
}

void linear_backward_input(benchmark::State& state, Device& device) {
  const int64_t n = kMapOutputs, k = kHidden;
  const auto w = device.bf16(n * k);
  const auto dy = device.floats(kTokens * n);
  Buffer<float> dx(device.memory, kTokens * k);
  const DenseWeight weight{DType::bf16, w.data(), n, k};
  device.run(
      state,
      [&] {
        device.table.linear_backward_input(
            weight, {.dy = dy.data(), .dx = dx.data(), .rows = kTokens}, device.context);
      },
      4.0 * static_cast<double>(kTokens * (n + k)), 2.0 * static_cast<double>(kTokens * n * k));
}

// The tuned parameters of one map.
struct TunedMap {
  Buffer<uint16_t> source, values;
  Buffer<int16_t> v;
  Buffer<float> alpha, beta;
  int64_t n, k;

  TunedMap(const Device& device, int64_t outputs, int64_t inputs)
      : source(device.bf16(outputs * inputs)),
        values(device.bf16(outputs * inputs)),
        v(device.filled(outputs * inputs, int16_t{0})),
        alpha(device.filled(outputs * inputs / kGroup, 1.0f)),
        beta(device.filled(outputs * inputs / kGroup, 1.0f)),
        n(outputs),
        k(inputs) {}

  DenseWeight effective() const { return {DType::bf16, values.data(), n, k}; }
  SignRoundTarget target() {
    return {{DType::bf16, source.data(), n, k},
            {0, n, kGroup, v.data(), alpha.data(), beta.data()},
            {DType::bf16, values.data()}};
  }
};

void weight_gradient_into_steps(benchmark::State& state, Device& device) {
  TunedMap map(device, kMapOutputs, kHidden);
  const auto x = device.floats(kTokens * map.k), dy = device.floats(kTokens * map.n);
  const auto sizes = device.copy_of(std::vector<SignRoundStepSizes>{{10, 0.001f}});
  const SignRoundTarget targets[] = {map.target()};
  const SignRoundUpdate update{{.v_unit = 1e-4f}, sizes.data(), targets};
  const WeightGradientJob job{.x = x.data(),
                              .dy = dy.data(),
                              .rows = kTokens,
                              .n = map.n,
                              .k = map.k,
                              .x_stride = map.k,
                              .dy_stride = map.n};
  device.run(
      state,
      [&] { device.table.weight_gradient_tiles({&job, 1}, {.update = &update}, device.context); },
      4.0 * static_cast<double>(kTokens * (map.n + map.k)),
      2.0 * static_cast<double>(kTokens * map.n * map.k));
}

void grouped_experts(benchmark::State& state, Device& device) {
  const bool backward = state.range(0) != 0;
  std::vector<TunedMap> maps;
  std::vector<SwigluWeights> weights;
  std::vector<SignRoundTarget> targets;
  for (int64_t e = 0; e < kExperts; ++e) {
    maps.emplace_back(device, kInner, kHidden);
    maps.emplace_back(device, kInner, kHidden);
    maps.emplace_back(device, kHidden, kInner);
    const size_t last = maps.size() - 1;
    weights.push_back(
        {maps[last - 2].effective(), maps[last - 1].effective(), maps[last].effective()});
  }
  for (TunedMap& map : maps) targets.push_back(map.target());
  const auto sizes = device.copy_of(std::vector<SignRoundStepSizes>{{10, 0.001f}});
  const SignRoundUpdate update{{.v_unit = 1e-4f}, sizes.data(), targets};
  const WeightGradientSink sink{.update = &update};
  const auto x = device.floats(kTokens * kHidden), d_out = device.floats(kTokens * kHidden);
  const auto chosen = device.copy_of(choices(kTokens));
  const auto shares = device.filled(kTokens * kChosen, 1.0f / kChosen);
  Buffer<int64_t> begin(device.memory, kExperts + 1);
  Buffer<int32_t> rows(device.memory, kTokens * kChosen);
  const ExpertGroups groups{begin.data(), rows.data()};
  device.table.group_by_expert({.experts = chosen.data(),
                                .groups = groups,
                                .tokens = kTokens,
                                .n_experts = kExperts,
                                .n_chosen = kChosen},
                               device.context);
  auto gate = device.floats(kTokens * kChosen * kInner), up = device.floats(gate.size());
  auto out = device.filled(kTokens * kHidden, 0.0f);
  Buffer<float> d_weights(device.memory, kTokens * kChosen);
  const double products = 6.0 * static_cast<double>(kTokens * kChosen * kHidden * kInner);
  const double bytes = 16.0 * static_cast<double>(gate.size());
  if (!backward)
    return device.run(
        state,
        [&] {
          device.table.grouped_experts({.x = x.data(),
                                        .groups = &groups,
                                        .weights = shares.data(),
                                        .expert_weights = weights,
                                        .gate = gate.data(),
                                        .up = up.data(),
                                        .out = out.data(),
                                        .tokens = kTokens,
                                        .hidden = kHidden,
                                        .n_chosen = kChosen},
                                       device.context);
        },
        bytes, products);
  device.run(
      state,
      [&] {
        device.table.grouped_experts_backward({.x = x.data(),
                                               .groups = &groups,
                                               .weights = shares.data(),
                                               .expert_weights = weights,
                                               .gate = gate.data(),
                                               .up = up.data(),
                                               .d_out = d_out.data(),
                                               .dx = out.data(),
                                               .d_weights = d_weights.data(),
                                               .sink = &sink,
                                               .tokens = kTokens,
                                               .hidden = kHidden,
                                               .n_chosen = kChosen},
                                              device.context);
      },
      bytes, 2 * products);
}

void attention_backward(benchmark::State& state, Device& device) {
  const int64_t heads = 16, kv = 2, dim = 256;
  const auto q = device.floats(kTokens * heads * dim), d_out = device.floats(q.size());
  const auto keys = device.floats(kTokens * kv * dim), values = device.floats(keys.size());
  Buffer<float> dq(device.memory, q.size()), d_keys(device.memory, keys.size()),
      d_values(device.memory, keys.size());
  const double pairs = static_cast<double>(kSequences * kLength) * (kLength + 1) / 2;
  device.run(
      state,
      [&] {
        device.table.causal_attention_backward({.q = q.data(),
                                                .keys = keys.data(),
                                                .values = values.data(),
                                                .d_out = d_out.data(),
                                                .dq = dq.data(),
                                                .d_keys = d_keys.data(),
                                                .d_values = d_values.data(),
                                                .sequences = kSequences,
                                                .tokens = kLength,
                                                .heads = heads,
                                                .kv_heads = kv,
                                                .head_dim = dim,
                                                .scale = 1.0f / 16},
                                               device.context);
      },
      12.0 * static_cast<double>(q.size()), 10.0 * pairs * static_cast<double>(heads * dim));
}

template <class Function>
benchmark::internal::Benchmark* add(const char* name, Function function, Device& device) {
  return benchmark::RegisterBenchmark(
             name, [=, &device](benchmark::State& state) { function(state, device); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

void add_all(Device& device) {
  for (const int64_t rows : {1, 4, 16, 64, 512, 2048}) {
    add("linear_int4", linear_int4, device)->ArgName("rows")->Arg(rows);
    add("experts_int4", experts_int4, device)->ArgName("tokens")->Arg(rows);
  }
  for (const int64_t rows : {1, 4})
    add("linear_bf16_few_rows", linear_bf16_few_rows, device)->ArgName("rows")->Arg(rows);
  for (const auto& [tokens, context] :
       {std::pair<int64_t, int64_t>{1, 1024}, {1, 32768}, {4, 32768}, {kLength, kLength}})
    add("attention", attention, device)->ArgNames({"tokens", "context"})->Args({tokens, context});
  for (const int64_t tokens : {int64_t{1}, int64_t{4}, kLength})
    add("delta_rule", delta_rule, device)->ArgName("tokens")->Arg(tokens);
  add("delta_rule_backward", delta_rule_backward, device);
  add("linear_many_rows", linear_many_rows, device);
  add("linear_backward_input", linear_backward_input, device);
  add("weight_gradient_into_steps", weight_gradient_into_steps, device);
  add("grouped_experts", grouped_experts, device)->ArgName("backward")->Arg(0)->Arg(1);
  add("attention_backward", attention_backward, device);
}

}  // namespace
}  // namespace qround::ops

int main(int argc, char** argv) {
  std::string backend = "cuda";
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    constexpr const char* kFlag = "--backend=";
    if (std::strncmp(argv[i], kFlag, std::strlen(kFlag)) == 0) {
      backend = argv[i] + std::strlen(kFlag);
    } else {
      argv[kept++] = argv[i];
    }
  }
  benchmark::Initialize(&kept, argv);
  try {
    qround::ops::Device device(qround::ops::select_backend(backend));
    qround::ops::add_all(device);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
