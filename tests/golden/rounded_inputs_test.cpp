// What faster arithmetic costs on a trained model, against the same weights with f32 inputs: inputs
// of int4 maps rounded to int8, those of BF16 maps to BF16, and BF16 maps held as int8.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/file.h"
#include "model/model.h"
#include "ops/backend.h"
#include "tests/golden/safetensors_golden.h"
#include "tokenizer/tokenizer.h"

namespace qround {
namespace {

constexpr size_t kWindow = 256, kWindows = 24;

Model load(const char* directory) {
  return Model::load(std::make_shared<Checkpoint>(Checkpoint::open(source_path(directory))));
}

std::vector<int32_t> evaluation_ids() {
  const Tokenizer tokenizer = Tokenizer::load(source_path("models/pocket"));
  std::vector<int32_t> ids =
      tokenizer.encode(read_file(source_path("models/pocket/evaluation.txt")));
  ids.resize(std::min(ids.size(), kWindow * kWindows));
  return ids;
}

// Logits [tokens, vocabulary], window after window.
std::vector<float> logits(const Model& model, const std::vector<int32_t>& ids,
                          ops::Activations activations) {
  ops::Workspace workspace;
  const Executor executor{ops::select_backend("cpu"),
                          {.threads = {2}, .workspace = workspace, .activations = activations}};
  const auto vocabulary = static_cast<size_t>(model.config().vocab);
  std::vector<float> all(ids.size() * vocabulary);
  std::vector<float> hidden(kWindow * static_cast<size_t>(model.config().hidden));
  for (size_t begin = 0; begin < ids.size(); begin += kWindow) {
    const size_t count = std::min(kWindow, ids.size() - begin);
    SequenceState state(model.config());
    model.forward(std::span(ids).subspan(begin, count), state, hidden.data(), executor);
    model.logits(hidden.data(), static_cast<int64_t>(count), all.data() + begin * vocabulary,
                 executor);
  }
  return all;
}

std::vector<double> log_probabilities(std::span<const float> row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(logit - largest);
  std::vector<double> result;
  for (const float logit : row) result.push_back(logit - largest - std::log(sum));
  return result;
}

// The text holds free choices (which town, which number), and after training the best two tokens
// there are level within a few thousandths of a nat: any rounding decides anew which one is ahead.
constexpr double kDecidedNats = 0.05;

struct Distance {
  double kl_divergence = 0, same_top = 0;  // means
  double same_decided_top = 0;             // of rows whose best token is ahead by kDecidedNats
};

Distance distance(const std::vector<float>& from, const std::vector<float>& to, size_t vocabulary) {
  Distance result;
  const size_t rows = from.size() / vocabulary;
  double decided = 0;
  for (size_t row = 0; row < rows; ++row) {
    const auto p = log_probabilities(std::span(from).subspan(row * vocabulary, vocabulary));
    const auto q = log_probabilities(std::span(to).subspan(row * vocabulary, vocabulary));
    for (size_t i = 0; i < vocabulary; ++i)
      result.kl_divergence += std::exp(p[i]) * (p[i] - q[i]) / static_cast<double>(rows);
    const auto top = static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin());
    const bool is_same = *std::max_element(q.begin(), q.end()) == q[top];
    double second = -INFINITY;
    for (size_t i = 0; i < vocabulary; ++i)
      if (i != top) second = std::max(second, p[i]);
    result.same_top += is_same / static_cast<double>(rows);
    if (p[top] - second < kDecidedNats) continue;
    result.same_decided_top += is_same;
    ++decided;
  }
  result.same_decided_top /= decided;
  return result;
}

// Means over the rows of `exact`.
Distance expect_close(const Model& model, const std::vector<int32_t>& ids,
                      const std::vector<float>& exact) {
  const Distance far = distance(exact, logits(model, ids, ops::Activations::int8),
                                static_cast<size_t>(model.config().vocab));
  std::cout << "KL divergence " << far.kl_divergence << ", same top token " << far.same_top
            << ", where it is decided " << far.same_decided_top << '\n';
  EXPECT_GT(far.kl_divergence, 0);
  EXPECT_LT(far.kl_divergence, 1e-3);
  EXPECT_GT(far.same_top, 0.985);
  EXPECT_GT(far.same_decided_top, 0.995);
  return far;
}

TEST(RoundedInputs, OfInt4MapsStayClose) {
  const Model model = load("tests/data/golden/autoround-tuned");
  const std::vector<int32_t> ids = evaluation_ids();
  expect_close(model, ids, logits(model, ids, ops::Activations::f32));
}

TEST(RoundedInputs, AndInt8CopiesOfBf16MapsStayClose) {
  Model model = load("models/pocket");
  const std::vector<int32_t> ids = evaluation_ids();
  const std::vector<float> exact = logits(model, ids, ops::Activations::f32);
  const Distance without = expect_close(model, ids, exact);
  EXPECT_EQ(model.int8_copy_bytes(), 0);
  model.use_int8_copies({2});
  EXPECT_GT(model.int8_copy_bytes(),
            static_cast<uint64_t>(model.config().vocab * model.config().hidden));
  EXPECT_TRUE(std::holds_alternative<ops::Int8Weight>(model.lm_head()));
  const auto& moe = std::get<MoeWeights>(model.block(0).feed_forward);
  EXPECT_TRUE(std::holds_alternative<ops::Int8Weight>(moe.shared.gate));
  EXPECT_TRUE(std::holds_alternative<ops::DenseWeight>(moe.router));
  EXPECT_TRUE(std::holds_alternative<ops::DenseWeight>(moe.experts[0].gate));
  EXPECT_GT(expect_close(model, ids, exact).kl_divergence, without.kl_divergence);
}

}  // namespace
}  // namespace qround
