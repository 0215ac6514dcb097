// One iteration of learned rounding of a block at the 35B's widths (256 experts, hidden 2048) on
// batches of 8 x 2048 tokens, beside the machine's roofs, as one JSON object:
//
//   build/cuda/tuning_bench [--backend cuda] [--mixer delta_net|attention] [--experts 256]
//                           [--sequences 8] [--length 2048] [--iterations 20]
//
// The time is that of `iterations` iterations more, so that what a run does once does not count.
// Operations: two for each weight a token meets and each of the three products (forward, gradient
// of the inputs, gradient of the weights); attention and the delta rule themselves are not counted.
// Bytes: of weights alone, read in the two passes, and with V and the new weights where the step is
// made. The roofs are a bf16 product of large matrices and a copy in the backend's memory, measured
// first. Not yet run on a GPU.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "quant/block_tuner.h"

namespace qround {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string backend = "cuda", mixer = "delta_net";
  int64_t experts = 256, sequences = 8, length = 2048, iterations = 20;
};

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::string*> texts = {{"--backend", &options.backend},
                                                     {"--mixer", &options.mixer}};
  const std::map<std::string, int64_t*> numbers = {{"--experts", &options.experts},
                                                   {"--sequences", &options.sequences},
                                                   {"--length", &options.length},
                                                   {"--iterations", &options.iterations}};
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc || (!texts.contains(flag) && !numbers.contains(flag)))
      throw Error("unknown flag or one without a value").actual(flag);
    if (texts.contains(flag)) {
      *texts.at(flag) = argv[i + 1];
    } else {
      *numbers.at(flag) = std::stoll(argv[i + 1]);
    }
  }
  return options;
}

ModelConfig config_of(const Options& options) {
  ModelConfig config;
  config.hidden = 2048;
  config.norm_eps = 1e-6f;
  config.attention = {
      .heads = 16, .kv_heads = 2, .head_dim = 256, .rotary_dim = 64, .rope_theta = 1e7};
  config.delta_net = {
      .key_heads = 16, .value_heads = 32, .key_dim = 128, .value_dim = 128, .conv_taps = 4};
  config.moe = MoeConfig{.experts = options.experts,
                         .chosen = std::min<int64_t>(8, options.experts),
                         .expert_width = 512,
                         .shared_width = 512};
  return config;
}

class Random {
 public:
  // About normal: the sum of four uniform numbers.
  float next(float deviation) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
      sum += static_cast<float>(state_ >> 40) * 0x1p-23f - 1;
    }
    return sum * deviation * 0.866f;
  }
  std::vector<float> values(int64_t count, float deviation) {
    std::vector<float> all(static_cast<size_t>(count));
    for (float& value : all) value = next(deviation);
    return all;
  }

 private:
  uint64_t state_ = 1;
};

// A block of random weights in host memory, and its maps.
class RandomBlock {
 public:
  RandomBlock(const ModelConfig& config, bool attention) {
    const int64_t h = config.hidden;
    weights.input_norm = random_.values(h, 0.05f);
    weights.post_attention_norm = random_.values(h, 0.05f);
    if (attention) {
      const AttentionConfig& a = config.attention;
      AttentionWeights w;
      w.q_proj = tuned(Role::q_proj, 2 * a.heads * a.head_dim, h);
      w.k_proj = tuned(Role::k_proj, a.kv_heads * a.head_dim, h);
      w.v_proj = tuned(Role::v_proj, a.kv_heads * a.head_dim, h);
      w.o_proj = tuned(Role::o_proj, h, a.heads * a.head_dim);
      w.q_norm = random_.values(a.head_dim, 0.05f);
      w.k_norm = random_.values(a.head_dim, 0.05f);
      weights.mixer = std::move(w);
    } else {
      const DeltaNetConfig& d = config.delta_net;
      DeltaNetWeights w;
      w.in_proj_qkv = tuned(Role::in_proj_qkv, d.conv_channels(), h);
      w.in_proj_z = tuned(Role::in_proj_z, d.value_width(), h);
      w.in_proj_b = matrix(d.value_heads, h);
      w.in_proj_a = matrix(d.value_heads, h);
      w.out_proj = tuned(Role::out_proj, h, d.value_width());
      w.conv1d = random_.values(d.conv_channels() * d.conv_taps, 0.3f);
      w.a_log = random_.values(d.value_heads, 1);
      w.dt_bias = random_.values(d.value_heads, 0.05f);
      w.norm = std::vector<float>(static_cast<size_t>(d.value_dim), 1.0f);
      weights.mixer = std::move(w);
    }
    const MoeConfig& moe = *config.moe;
    MoeWeights w;
    w.router = matrix(moe.experts, h);
    for (int64_t expert = 0; expert < moe.experts; ++expert) {
      w.experts.push_back({.gate = tuned(Role::expert_gate, moe.expert_width, h, expert),
                           .up = tuned(Role::expert_up, moe.expert_width, h, expert),
                           .down = tuned(Role::expert_down, h, moe.expert_width, expert)});
    }
    w.shared = {.gate = tuned(Role::shared_gate, moe.shared_width, h),
                .up = tuned(Role::shared_up, moe.shared_width, h),
                .down = tuned(Role::shared_down, h, moe.shared_width)};
    w.shared_expert_gate = matrix(1, h);
    weights.feed_forward = std::move(w);
  }

  int64_t tuned_weights() const { return count(false, 1, 1); }
  // That a token meets.
  int64_t weights_per_token(const MoeConfig& moe) const {
    return count(true, moe.chosen, moe.experts);
  }

  BlockWeights weights;
  std::vector<quant::TunedLinear> linears;

 private:
  int64_t count(bool of_token, int64_t chosen, int64_t experts) const {
    int64_t of_experts = 0, others = 0;
    for (const quant::TunedLinear& linear : linears)
      (linear.id.expert >= 0 ? of_experts : others) += linear.weight.n * linear.weight.k;
    return others + (of_token ? of_experts / experts * chosen : of_experts);
  }

  ops::DenseWeight matrix(int64_t n, int64_t k) {
    std::vector<uint16_t>& values = storage_.emplace_back(static_cast<size_t>(n * k));
    for (uint16_t& value : values) value = f32_to_bf16(random_.next(0.02f));
    return {DType::bf16, values.data(), n, k};
  }
  ops::DenseWeight tuned(Role role, int64_t n, int64_t k, int64_t expert = -1) {
    const ops::DenseWeight weight = matrix(n, k);
    linears.push_back({{role, expert}, "", weight});
    return weight;
  }

  Random random_;
  std::vector<std::vector<uint16_t>> storage_;
};

double seconds_of(const ops::Memory& memory, const std::function<void()>& work) {
  memory.synchronize(nullptr);
  const auto begin = Clock::now();
  work();
  memory.synchronize(nullptr);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double copy_bytes_per_second(const ops::Memory& memory) {
  constexpr int64_t kBytes = int64_t{1} << 28;
  constexpr int kTimes = 10;
  const ops::Buffer<std::byte> from(memory, kBytes);
  ops::Buffer<std::byte> to(memory, kBytes);
  const auto copy = [&] { memory.copy(to.data(), from.data(), kBytes, nullptr); };
  copy();
  return 2.0 * kBytes * kTimes / seconds_of(memory, [&] {
           for (int i = 0; i < kTimes; ++i) copy();
         });
}

double operations_per_second(const Executor& executor, int64_t extent) {
  const ops::Memory& memory = *executor.ops.memory;
  Random random;
  std::vector<uint16_t> bits(static_cast<size_t>(extent * extent), f32_to_bf16(0.02f));
  const ops::Buffer<uint16_t> w(memory, std::span<const uint16_t>(bits));
  const std::vector<float> values = random.values(extent * extent, 1);
  const ops::Buffer<float> x(memory, std::span<const float>(values));
  ops::Buffer<float> y(memory, extent * extent);
  const auto multiply = [&] {
    executor.ops.linear(ops::DenseWeight{DType::bf16, w.data(), extent, extent}, x.data(), extent,
                        y.data(), executor.context);
  };
  multiply();
  return 2.0 * static_cast<double>(extent * extent) * static_cast<double>(extent) /
         seconds_of(memory, multiply);
}

// Seconds of tuning for so many iterations; the last loss too.
double tune(const ModelConfig& config, const RandomBlock& block, const Options& options,
            int64_t iterations, const Executor& executor) {
  quant::TuneRecipe recipe;
  recipe.iterations = iterations;
  recipe.samples = 2 * options.sequences;
  recipe.length = options.length;
  recipe.batch = options.sequences;
  recipe.selection = quant::Selection::last;
  recipe.few_tokens = 0;
  const ops::Memory& memory = *executor.ops.memory;
  const int64_t floats = options.length * config.hidden;
  ActivationStore embedded(recipe.samples, floats);
  Random random;
  for (int64_t i = 0; i < recipe.samples * floats; ++i) embedded.sample(0)[i] = random.next(1);
  const auto store = [&] {
    quant::SampleStore samples = memory.is_host
                                     ? quant::SampleStore(ActivationStore(recipe.samples, floats))
                                     : quant::SampleStore(recipe.samples, floats, memory);
    for (int64_t i = 0; i < recipe.samples; ++i) samples.write(i, embedded.sample(i), executor);
    return samples;
  };
  const quant::SampleStore inputs = store();
  quant::SampleStore targets = store();
  ResidentBlock resident = make_resident(block.weights, memory, nullptr);
  quant::forward_samples(config, resident.weights, targets, {recipe.batch, recipe.length},
                         executor);
  quant::BlockTuner tuner(config, std::move(resident), block.linears, 128, recipe, executor);
  return seconds_of(memory,
                    [&] { tuner.run({recipe.length, inputs, targets}, 0, nullptr, nullptr); });
}

int run(const Options& options) {
  const ModelConfig config = config_of(options);
  const ops::OpTable& table = ops::select_backend(options.backend);
  ops::Workspace workspace(*table.memory);
  const Executor executor{table,
                          {.threads = Threads::all(), .workspace = workspace, .many_rows = true}};
  const RandomBlock block(config, options.mixer == "attention");
  constexpr int64_t kWarmUp = 2;
  tune(config, block, options, kWarmUp, executor);
  const double few = tune(config, block, options, kWarmUp, executor);
  const double many = tune(config, block, options, kWarmUp + options.iterations, executor);
  const double seconds = (many - few) / static_cast<double>(options.iterations);

  const auto tokens = static_cast<double>(options.sequences * options.length);
  const double operations =
      6 * static_cast<double>(block.weights_per_token(*config.moe)) * tokens / seconds;
  // W^ twice, then W, V there and back, and W^ written.
  const double bytes = 12 * static_cast<double>(block.tuned_weights()) / seconds;
  const double most_operations =
      operations_per_second(executor, table.memory->is_host ? 1024 : 8192);
  const double most_bytes = copy_bytes_per_second(*table.memory);
  std::printf(
      "{\"backend\": \"%s\", \"mixer\": \"%s\", \"experts\": %lld, \"sequences\": %lld, "
      "\"length\": %lld,\n \"milliseconds_per_iteration\": %.3f, \"tokens_per_second\": %.0f,\n "
      "\"tflops\": %.3f, \"roof_tflops\": %.3f, \"percent_of_roof\": %.1f,\n "
      "\"weight_gb_per_second\": %.2f, \"roof_gb_per_second\": %.2f, "
      "\"percent_of_memory_roof\": %.1f}\n",
      std::string(table.name).c_str(), options.mixer.c_str(),
      static_cast<long long>(options.experts), static_cast<long long>(options.sequences),
      static_cast<long long>(options.length), 1000 * seconds, tokens / seconds, operations / 1e12,
      most_operations / 1e12, 100 * operations / most_operations, bytes / 1e9, most_bytes / 1e9,
      100 * bytes / most_bytes);
  return 0;
}

}  // namespace
}  // namespace qround

int main(int argc, char** argv) {
  try {
    return qround::run(qround::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
