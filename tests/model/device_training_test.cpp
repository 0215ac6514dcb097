// A block in training on a backend with memory of its own (CUDA or its emulation) against the same
// block on the host.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "base/half.h"
#include "model/block_training.h"
#include "tests/model/random_block.h"
#include "tests/ops/on_backend.h"

namespace qround {
namespace {

// Of a length at which no token's choice of experts is nearly a tie.
constexpr TrainingBatch kBatch{.sequences = 2, .length = 29};

// Tensor cores take both factors in BF16, whose steps are 2^-8 of a value, so that a product is off
// by about 2^-9 of its norm. Linear maps are compared with ones that round alike; what remains are
// the products inside of experts, attention and recurrence, of which a handful follow one another.
constexpr double kTolerance = 8 * 0x1p-9;

std::vector<float> rounded(const float* values, int64_t count) {
  std::vector<float> all(values, values + count);
  for (float& value : all) value = bf16_to_f32(f32_to_bf16(value));
  return all;
}

void linear_of_bf16(const ops::Weight& weight, const float* x, int64_t tokens, float* y,
                    const ops::OpContext& context) {
  ops::cpu::linear(weight, rounded(x, tokens * ops::inputs(weight)).data(), tokens, y, context);
}

void backward_of_bf16(const ops::Weight& weight, const ops::LinearBackwardInputArgs& args,
                      const ops::OpContext& context) {
  const std::vector<float> dy = rounded(args.dy, args.rows * ops::outputs(weight));
  ops::LinearBackwardInputArgs of = args;
  of.dy = dy.data();
  ops::cpu::linear_backward_input(weight, of, context);
}

void weight_gradients_of_bf16(std::span<const ops::WeightGradientJob> jobs,
                              const ops::WeightGradientSink& sink, const ops::OpContext& context) {
  for (ops::WeightGradientJob job : jobs) {
    const std::vector<float> x = rounded(job.x, job.rows * job.x_stride);
    const std::vector<float> dy = rounded(job.dy, job.rows * job.dy_stride);
    job.x = x.data();
    job.dy = dy.data();
    ops::cpu::weight_gradient_tiles({&job, 1}, sink, context);
  }
}

// The host's operations, with the inputs of linear maps rounded as tensor cores take them.
ops::OpTable host_table() {
  ops::OpTable table = ops::select_backend("cpu");
  table.linear = linear_of_bf16;
  table.linear_backward_input = backward_of_bf16;
  table.weight_gradient_tiles = weight_gradients_of_bf16;
  return table;
}

struct Pass {
  std::vector<float> y, dx;
  std::map<std::pair<Role, int64_t>, std::vector<float>> weights;
  std::map<std::string, std::vector<float>> vectors;
  std::vector<int64_t> expert_tokens;
};

Pass run(const ops::OpTable& table, const RandomBlock& block, const std::vector<float>& x,
         const std::vector<float>& dy) {
  ops::OnBackend on(table);
  const Executor executor{table, on.context};
  const ResidentBlock resident = make_resident(block.weights(), on.memory, nullptr);
  const auto x_ = on.copy_of(x), dy_ = on.copy_of(dy);
  auto y = on.nans(x.size()), dx = on.nans(x.size());
  BlockTraining training(block.config(), block.mixer(), kBatch, on.memory);
  training.forward(resident.weights, x_.data(), y.data(), executor);
  Pass pass;
  pass.y = y.to_vector();
  pass.expert_tokens = training.expert_tokens();
  std::mutex mutex;
  VectorGradients vectors;
  BlockGradients gradients;
  gradients.wants = [](LinearId) { return true; };
  gradients.consume = [&](LinearId id, const ops::WeightGradientTile& tile) {
    const std::lock_guard lock(mutex);
    std::vector<float>& whole = pass.weights[{id.role, id.expert}];
    whole.resize(std::max(whole.size(), static_cast<size_t>(tile.row_end * tile.k)));
    std::copy_n(tile.values, (tile.row_end - tile.row_begin) * tile.k,
                whole.begin() + tile.row_begin * tile.k);
  };
  gradients.dx = dx.data();
  gradients.vectors = &vectors;
  training.backward(resident.weights, x_.data(), dy_.data(), gradients, executor);
  pass.dx = dx.to_vector();
  pass.vectors = {{"input_norm", vectors.input_norm.to_vector()},
                  {"post_attention_norm", vectors.post_attention_norm.to_vector()},
                  {"q_norm", vectors.q_norm.to_vector()},
                  {"k_norm", vectors.k_norm.to_vector()},
                  {"conv1d", vectors.conv1d.to_vector()},
                  {"a_log", vectors.a_log.to_vector()},
                  {"dt_bias", vectors.dt_bias.to_vector()},
                  {"delta_net_norm", vectors.delta_net_norm.to_vector()}};
  return pass;
}

// The distance of two vectors in parts of the expected one's length.
double relative_distance(const std::vector<float>& expected, const std::vector<float>& actual) {
  double difference = 0, length = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    length += std::pow(double{expected[i]}, 2);
  }
  return length == 0 ? std::sqrt(difference) : std::sqrt(difference / length);
}

struct Case {
  const ops::OpTable* table;
  MixerKind mixer;
  bool moe;
};

class DeviceTraining : public testing::TestWithParam<Case> {};

TEST_P(DeviceTraining, AgreesWithTheHostInOutputAndEveryGradient) {
  const RandomBlock block(GetParam().mixer, GetParam().moe, true);
  const auto count = static_cast<size_t>(kBatch.tokens() * block.config().hidden);
  const std::vector<float> x = block.values(count), dy = block.values(count);
  const Pass expected = run(host_table(), block, x, dy);
  const Pass actual = run(*GetParam().table, block, x, dy);
  EXPECT_LE(relative_distance(expected.y, actual.y), kTolerance);
  EXPECT_LE(relative_distance(expected.dx, actual.dx), kTolerance);
  EXPECT_EQ(actual.expert_tokens, expected.expert_tokens);
  ASSERT_EQ(actual.weights.size(), expected.weights.size());
  for (const auto& [linear, gradient] : expected.weights) {
    const std::vector<float>& other = actual.weights.at(linear);
    ASSERT_EQ(other.size(), gradient.size());
    EXPECT_LE(relative_distance(gradient, other), kTolerance)
        << static_cast<int>(linear.first) << ", expert " << linear.second;
  }
  for (const auto& [name, gradient] : expected.vectors) {
    ASSERT_EQ(actual.vectors.at(name).size(), gradient.size()) << name;
    EXPECT_LE(relative_distance(gradient, actual.vectors.at(name)), kTolerance) << name;
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const ops::OpTable* table : ops::fast_backends())
    for (const MixerKind mixer : {MixerKind::attention, MixerKind::delta_net})
      for (const bool moe : {false, true})
        if (!table->memory->is_host) all.push_back({table, mixer, moe});
  return all;
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  return ops::backend_test_name({test.param.table, 0}) +
         (test.param.mixer == MixerKind::attention ? "_Attention" : "_DeltaNet") +
         (test.param.moe ? "_MixtureOfExperts" : "_Dense");
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeviceTraining);
INSTANTIATE_TEST_SUITE_P(, DeviceTraining, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace qround
