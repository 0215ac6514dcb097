// Properties of a block in training that need no reference values.
#include "model/block_training.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "ops/backend.h"
#include "tests/golden/safetensors_golden.h"
#include "tests/model/random_block.h"

namespace qround {
namespace {

using GradientMap = std::map<std::pair<Role, int64_t>, std::vector<float>>;

struct Pass {
  std::vector<float> y, dx;
  GradientMap weights;
};

using Consume = std::function<void(LinearId, const ops::WeightGradientTile&)>;

// Forward and backward of x with dy as the gradient of y; `also` sees every tile after it was kept.
Pass run(const ModelConfig& config, const BlockWeights& weights, TrainingBatch batch,
         const std::vector<float>& x, const std::vector<float>& dy, const Consume& also = nullptr) {
  const bool attention = std::holds_alternative<AttentionWeights>(weights.mixer);
  ops::Workspace workspace;
  const Executor executor{ops::select_backend("cpu"), {Threads{2}, workspace}};
  Pass pass{.y = std::vector<float>(x.size()), .dx = std::vector<float>(x.size()), .weights = {}};
  BlockTraining training(config, attention ? MixerKind::attention : MixerKind::delta_net, batch);
  training.forward(weights, x.data(), pass.y.data(), executor);
  std::mutex mutex;
  const BlockGradients gradients{
      .wants = [](LinearId) { return true; },
      .consume =
          [&](LinearId id, const ops::WeightGradientTile& tile) {
            const std::lock_guard lock(mutex);
            std::vector<float>& whole = pass.weights[{id.role, id.expert}];
            whole.resize(std::max(whole.size(), static_cast<size_t>(tile.row_end * tile.k)));
            std::copy_n(tile.values, (tile.row_end - tile.row_begin) * tile.k,
                        whole.begin() + tile.row_begin * tile.k);
            if (also) also(id, tile);
          },
      .dx = pass.dx.data(),
      .vectors = nullptr};
  training.backward(weights, x.data(), dy.data(), gradients, executor);
  return pass;
}

void expect_relative(const std::vector<float>& expected, const std::vector<float>& actual,
                     double tolerance) {
  ASSERT_EQ(expected.size(), actual.size());
  const Difference worst = compare(expected, actual);
  EXPECT_LE(worst.relative, tolerance)
      << "at " << worst.index << ": expected " << worst.expected << ", actual " << worst.actual;
}

class TrainedBlock : public testing::TestWithParam<std::tuple<MixerKind, bool>> {
 protected:
  TrainedBlock()
      : block(std::get<0>(GetParam()), std::get<1>(GetParam())),
        x(block.values(static_cast<size_t>(batch.tokens() * block.config().hidden))),
        dy(block.values(x.size())) {}

  const TrainingBatch batch{.sequences = 3, .length = 70};
  const RandomBlock block;
  const std::vector<float> x, dy;
};

TEST_P(TrainedBlock, ComputesWhatTheBlockComputesWithoutTraining) {
  const Pass pass = run(block.config(), block.weights(), batch, x, dy);
  ops::Workspace workspace;
  const Executor executor{ops::select_backend("ref"), {Threads{1}, workspace}};
  std::vector<float> expected = x;
  for (int64_t sequence = 0; sequence < batch.sequences; ++sequence) {
    const MixerKind mixer = block.mixer();
    const auto mixers = std::span(&mixer, 1);
    SequenceState state(block.config(), mixers,
                        make_kv_pool(block.config(), mixers, pages_for(batch.length)));
    state.begin(batch.length);
    const SequenceRows rows{.state = &state, .tokens = batch.length};
    ops::Workspace::Scope scope(workspace);
    const BatchView view =
        make_batch_view(block.config(), std::span(&rows, 1), {}, scope, ops::host_memory());
    block_forward(block.config(), block.weights(), 0, view,
                  expected.data() + sequence * batch.length * block.config().hidden, executor);
  }
  // Two backends, three chained products: some tens of units in the last place.
  expect_relative(expected, pass.y, 5e-5);
}

TEST_P(TrainedBlock, GradientsOfABatchAreTheSumsOverItsSequences) {
  const Pass whole = run(block.config(), block.weights(), batch, x, dy);
  GradientMap sums;
  const auto width = static_cast<int64_t>(x.size()) / batch.sequences;
  for (int64_t sequence = 0; sequence < batch.sequences; ++sequence) {
    const auto part = [&](const std::vector<float>& all) {
      return std::vector<float>(all.begin() + sequence * width,
                                all.begin() + (sequence + 1) * width);
    };
    const Pass single = run(block.config(), block.weights(), {1, batch.length}, part(x), part(dy));
    expect_relative(part(whole.dx), single.dx, 1e-5);
    for (const auto& [linear, gradient] : single.weights) {
      std::vector<float>& sum = sums[linear];
      sum.resize(gradient.size());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
    }
  }
  ASSERT_EQ(sums.size(), whole.weights.size());
  for (const auto& [linear, gradient] : whole.weights)
    expect_relative(gradient, sums.at(linear), 1e-5);
}

// What SignRound does: the consumer rounds the rows it was called for anew.
TEST_P(TrainedBlock, ConsumersMayOverwriteTheirWeights) {
  const Pass untouched = run(block.config(), block.weights(), batch, x, dy);
  RandomBlock same(block.mixer(), block.config().moe.has_value());  // the same seed
  const BlockWeights& w = same.weights();
  const auto weight_of = [&](LinearId id) -> const ops::Weight& {
    const auto* attention = std::get_if<AttentionWeights>(&w.mixer);
    const auto* delta_net = std::get_if<DeltaNetWeights>(&w.mixer);
    const auto* moe = std::get_if<MoeWeights>(&w.feed_forward);
    const auto* dense = std::get_if<ops::SwigluWeights>(&w.feed_forward);
    const auto expert = [&]() -> const ops::SwigluWeights& {
      return moe->experts[static_cast<size_t>(id.expert)];
    };
    switch (id.role) {
      case Role::q_proj:
        return attention->q_proj;
      case Role::k_proj:
        return attention->k_proj;
      case Role::v_proj:
        return attention->v_proj;
      case Role::o_proj:
        return attention->o_proj;
      case Role::in_proj_qkv:
        return delta_net->in_proj_qkv;
      case Role::in_proj_z:
        return delta_net->in_proj_z;
      case Role::in_proj_b:
        return delta_net->in_proj_b;
      case Role::in_proj_a:
        return delta_net->in_proj_a;
      case Role::out_proj:
        return delta_net->out_proj;
      case Role::router:
        return moe->router;
      case Role::expert_gate:
        return expert().gate;
      case Role::expert_up:
        return expert().up;
      case Role::expert_down:
        return expert().down;
      case Role::shared_gate:
        return moe->shared.gate;
      case Role::shared_up:
        return moe->shared.up;
      case Role::shared_down:
        return moe->shared.down;
      case Role::shared_expert_gate:
        return moe->shared_expert_gate;
      case Role::dense_gate:
        return dense->gate;
      case Role::dense_up:
        return dense->up;
      default:
        return dense->down;
    }
  };
  const Pass overwritten =
      run(same.config(), w, batch, x, dy, [&](LinearId id, const ops::WeightGradientTile& tile) {
        std::fill_n(RandomBlock::elements(weight_of(id)) + tile.row_begin * tile.k,
                    (tile.row_end - tile.row_begin) * tile.k, 1e30f);
      });
  EXPECT_EQ(untouched.dx, overwritten.dx);
  EXPECT_EQ(untouched.weights, overwritten.weights);
}

std::string block_name(const testing::TestParamInfo<std::tuple<MixerKind, bool>>& test) {
  return std::string(std::get<0>(test.param) == MixerKind::attention ? "Attention" : "DeltaNet") +
         (std::get<1>(test.param) ? "_MixtureOfExperts" : "_Dense");
}
INSTANTIATE_TEST_SUITE_P(
    Random, TrainedBlock,
    testing::Combine(testing::Values(MixerKind::attention, MixerKind::delta_net), testing::Bool()),
    block_name);

// A dense feed-forward is a mixture of one expert that is always chosen, beside a shared expert
// whose last map is zero.
TEST(BlockTraining, GradientsOfADenseFeedForwardAreThoseOfASingleExpert) {
  const RandomBlock dense(MixerKind::attention, false);
  const ModelConfig& config = dense.config();
  const auto count = static_cast<size_t>(20 * config.hidden);
  const std::vector<float> x = dense.values(count), dy = dense.values(count);
  const Pass expected = run(config, dense.weights(), {1, 20}, x, dy);

  ModelConfig of_one = config;
  of_one.moe =
      MoeConfig{.experts = 1, .chosen = 1, .expert_width = config.dense_width, .shared_width = 1};
  const std::vector<float> zeros(static_cast<size_t>(config.hidden));
  const auto zero = [&](int64_t n, int64_t k) {
    return ops::DenseWeight{.dtype = DType::f32, .data = zeros.data(), .n = n, .k = k};
  };
  BlockWeights weights = dense.weights();
  const auto only = std::get<ops::SwigluWeights>(weights.feed_forward);
  weights.feed_forward =
      MoeWeights{.router = zero(1, config.hidden),
                 .experts = {only},
                 .shared = {zero(1, config.hidden), zero(1, config.hidden), zero(config.hidden, 1)},
                 .shared_expert_gate = zero(1, config.hidden)};
  const Pass actual = run(of_one, weights, {1, 20}, x, dy);
  expect_relative(expected.y, actual.y, 1e-5);
  expect_relative(expected.dx, actual.dx, 1e-5);
  const auto compare_maps = [&](Role of_dense, Role of_expert) {
    expect_relative(expected.weights.at({of_dense, -1}), actual.weights.at({of_expert, 0}), 1e-5);
  };
  compare_maps(Role::dense_gate, Role::expert_gate);
  compare_maps(Role::dense_up, Role::expert_up);
  compare_maps(Role::dense_down, Role::expert_down);
}

TEST(BlockTraining, CountsTheTokensOfEachExpert) {
  const RandomBlock block(MixerKind::delta_net, true);
  const TrainingBatch batch{.sequences = 2, .length = 9};
  const auto count = static_cast<size_t>(batch.tokens() * block.config().hidden);
  const std::vector<float> x = block.values(count);
  std::vector<float> y(count);
  ops::Workspace workspace;
  BlockTraining training(block.config(), block.mixer(), batch);
  training.forward(block.weights(), x.data(), y.data(),
                   {ops::select_backend("cpu"), {Threads{1}, workspace}});
  const std::vector<int64_t> tokens = training.expert_tokens();
  ASSERT_EQ(tokens.size(), 5u);
  int64_t total = 0;
  for (int64_t of_expert : tokens) total += of_expert;
  EXPECT_EQ(total, batch.tokens() * 2);
}

}  // namespace
}  // namespace qround
