// Forward and backward of one block, every weight gradient made and dropped. flop/s counts the
// linear maps alone, 2 per weight and token for each of output, input gradient (not of the mixer's
// first maps) and weight gradient (of the maps SignRound tunes): its percentage of sgemm's rate is
// the share of the time that would be enough for the products. BF16 products have twice that rate
// where the processor has them (AVX512_BF16): there half of the percentage is that share.
#include <cmath>
#include <deque>
#include <vector>

#include "base/half.h"
#include "bench/ops/roof_meter.h"
#include "model/block_training.h"
#include "ops/backend.h"

namespace qround {
namespace {

struct Size {
  ModelConfig config;
  TrainingBatch batch;
};

Size pocket() {
  Size size{.config = {}, .batch = {.sequences = 8, .length = 256}};
  size.config.hidden = 256;
  size.config.attention = {
      .heads = 4, .kv_heads = 2, .head_dim = 64, .rotary_dim = 16, .rope_theta = 1e7};
  size.config.delta_net = {
      .key_heads = 2, .value_heads = 4, .key_dim = 64, .value_dim = 64, .conv_taps = 4};
  size.config.moe = MoeConfig{.experts = 8, .chosen = 2, .expert_width = 128, .shared_width = 128};
  return size;
}

// A block of a 35B-A3B with a quarter of its experts.
Size wide() {
  Size size{.config = {}, .batch = {.sequences = 4, .length = 512}};
  size.config.hidden = 2048;
  size.config.attention = {
      .heads = 16, .kv_heads = 2, .head_dim = 256, .rotary_dim = 64, .rope_theta = 1e7};
  size.config.delta_net = {
      .key_heads = 16, .value_heads = 32, .key_dim = 128, .value_dim = 128, .conv_taps = 4};
  size.config.moe = MoeConfig{.experts = 64, .chosen = 8, .expert_width = 512, .shared_width = 512};
  return size;
}

class RandomBlock {
 public:
  RandomBlock(const ModelConfig& config, MixerKind mixer) {
    const int64_t h = config.hidden;
    weights_.input_norm = vector(h, 0);
    weights_.post_attention_norm = vector(h, 0);
    if (mixer == MixerKind::attention) {
      const AttentionConfig& a = config.attention;
      const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
      weights_.mixer = AttentionWeights{.q_proj = matrix(2 * query_width, h),
                                        .k_proj = matrix(kv_width, h),
                                        .v_proj = matrix(kv_width, h),
                                        .o_proj = matrix(h, query_width),
                                        .q_norm = vector(a.head_dim, 0),
                                        .k_norm = vector(a.head_dim, 0)};
    } else {
      const DeltaNetConfig& d = config.delta_net;
      weights_.mixer = DeltaNetWeights{.in_proj_qkv = matrix(d.conv_channels(), h),
                                       .in_proj_z = matrix(d.value_width(), h),
                                       .in_proj_b = matrix(d.value_heads, h),
                                       .in_proj_a = matrix(d.value_heads, h),
                                       .out_proj = matrix(h, d.value_width()),
                                       .conv1d = vector(d.conv_channels() * d.conv_taps, 0),
                                       .a_log = vector(d.value_heads, 0),
                                       .dt_bias = vector(d.value_heads, 0),
                                       .norm = vector(d.value_dim, 1)};
    }
    const MoeConfig& moe = *config.moe;
    MoeWeights mixture;
    mixture.router = matrix(moe.experts, h);
    for (int64_t expert = 0; expert < moe.experts; ++expert)
      mixture.experts.push_back(swiglu(moe.expert_width, h));
    mixture.shared = swiglu(moe.shared_width, h);
    mixture.shared_expert_gate = matrix(1, h);
    weights_.feed_forward = std::move(mixture);
  }

  const BlockWeights& weights() const { return weights_; }

  std::vector<float> vector(int64_t count, float mean) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = mean + 0.3f * next();
    return values;
  }

 private:
  // Uniform on (-1, 1).
  float next() {
    random_ = random_ * 1664525u + 1013904223u;
    return static_cast<float>(random_ >> 8) * 0x1p-23f - 1.0f;
  }
  ops::Weight matrix(int64_t n, int64_t k) {
    std::vector<uint16_t>& values = storage_.emplace_back(static_cast<size_t>(n * k));
    const float scale = 1.7f / std::sqrt(static_cast<float>(k));
    for (uint16_t& value : values) value = f32_to_bf16(scale * next());
    return ops::DenseWeight{.dtype = DType::bf16, .data = values.data(), .n = n, .k = k};
  }
  ops::SwigluWeights swiglu(int64_t width, int64_t h) {
    return {.gate = matrix(width, h), .up = matrix(width, h), .down = matrix(h, width)};
  }

  uint32_t random_ = 1;
  std::deque<std::vector<uint16_t>> storage_;
  BlockWeights weights_;
};

bool is_tuned(LinearId id) {
  switch (id.role) {
    case Role::in_proj_a:
    case Role::in_proj_b:
    case Role::router:
    case Role::shared_gate:
    case Role::shared_up:
    case Role::shared_down:
    case Role::shared_expert_gate:
      return false;
    default:
      return true;
  }
}

double flops(const Size& size, MixerKind mixer) {
  const ModelConfig& c = size.config;
  const AttentionConfig& a = c.attention;
  const DeltaNetConfig& d = c.delta_net;
  const bool attention = mixer == MixerKind::attention;
  const int64_t into =
      attention ? 2 * (a.heads + a.kv_heads) * a.head_dim : d.conv_channels() + d.value_width();
  const int64_t out_of = attention ? a.heads * a.head_dim : d.value_width();
  const int64_t experts = 3 * c.moe->chosen * c.moe->expert_width;
  const int64_t fixed = 3 * c.moe->shared_width + c.moe->experts;
  const int64_t products = 2 * into + 3 * out_of + 3 * experts + 2 * fixed;
  return 2.0 * static_cast<double>(size.batch.tokens() * c.hidden * products);
}

void train_block(benchmark::State& state, const Size& size, MixerKind mixer,
                 ops::Activations activations) {
  const Threads threads = Threads::all();
  RandomBlock block(size.config, mixer);
  const int64_t count = size.batch.tokens() * size.config.hidden;
  const std::vector<float> x = block.vector(count, 0), dy = block.vector(count, 0);
  std::vector<float> y(x.size());
  ops::Workspace workspace;
  const Executor executor{
      ops::select_backend("cpu"),
      {.threads = threads, .workspace = workspace, .activations = activations, .many_rows = true}};
  BlockTraining training(size.config, mixer, size.batch);
  const BlockGradients gradients{.wants = is_tuned,
                                 .consume = [](LinearId, const ops::WeightGradientTile&) {},
                                 .dx = nullptr,
                                 .vectors = nullptr};
  const auto pass = [&] {
    training.forward(block.weights(), x.data(), y.data(), executor);
    training.backward(block.weights(), x.data(), dy.data(), gradients, executor);
  };
  pass();  // touches all memory
  ops::RoofMeter meter(threads);
  meter.start();
  for (auto _ : state) pass();
  meter.report(state, 0, flops(size, mixer));
}

#define QROUND_TRAIN_BLOCK(size, mixer, activations)                                       \
  BENCHMARK_CAPTURE(train_block, size##_##mixer##_##activations, size(), MixerKind::mixer, \
                    ops::Activations::activations)                                         \
      ->UseRealTime()                                                                      \
      ->Unit(benchmark::kMillisecond)

QROUND_TRAIN_BLOCK(pocket, delta_net, f32);
QROUND_TRAIN_BLOCK(pocket, delta_net, bf16);
QROUND_TRAIN_BLOCK(pocket, attention, f32);
QROUND_TRAIN_BLOCK(pocket, attention, bf16);
QROUND_TRAIN_BLOCK(wide, delta_net, f32);
QROUND_TRAIN_BLOCK(wide, delta_net, bf16);
QROUND_TRAIN_BLOCK(wide, attention, f32);
QROUND_TRAIN_BLOCK(wide, attention, bf16);

}  // namespace
}  // namespace qround
