#include "ops/mixture_of_experts.h"

#include <gtest/gtest.h>

#include <set>

#include "ops/backend.h"
#include "ops/linear.h"
#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_weight.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

struct Choices {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Choices run_route(const OpTable& table, const std::vector<float>& logits, int64_t n_experts,
                  int64_t n_chosen, int threads) {
  OnBackend on(table, threads);
  const int64_t tokens = static_cast<int64_t>(logits.size()) / n_experts;
  const auto n_choices = static_cast<size_t>(tokens * n_chosen);
  const auto at = on.copy_of(logits);
  auto experts = on.copy_of(std::vector<int32_t>(n_choices, -1));
  auto weights = on.nans(n_choices);
  table.route({.logits = at.data(),
               .experts = experts.data(),
               .weights = weights.data(),
               .tokens = tokens,
               .n_experts = n_experts,
               .n_chosen = n_chosen},
              on.context);
  return {experts.to_vector(), weights.to_vector()};
}

class Route : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Route);

TEST_P(Route, EqualsDefinitionOnHostsBitForBit) {
  RandomValues random(1);
  for (const int64_t tokens : {1, 2, 3, 65, 130})
    for (const auto& [n_experts, n_chosen] :
         {std::pair<int64_t, int64_t>{256, 8}, {5, 5}, {16, 1}, {7, 3}}) {
      const auto logits = random.normal(tokens * n_experts, 3);
      const Choices expected = run_route(ref_table(), logits, n_experts, n_chosen, 1);
      for (int threads : {1, 2, 3}) {
        const Choices actual = run_route(table(), logits, n_experts, n_chosen, threads);
        EXPECT_EQ(actual.experts, expected.experts);
        // Weights are at most 1; exp of a device may be a few units in the last place off.
        if (table().memory->is_host)
          EXPECT_EQ(actual.weights, expected.weights);
        else
          expect_close(actual.weights, expected.weights, 8 * kEps, random.seed());
      }
    }
}

TEST_P(Route, EqualLogitsGoToTheLowestIndex) {
  const std::vector<float> logits = {1, 3, 3, 0, 3, 1};
  for (const OpTable* each : {&ref_table(), &table()}) {
    const Choices choices = run_route(*each, logits, 6, 4, 1);
    EXPECT_EQ(choices.experts, (std::vector<int32_t>{1, 2, 4, 0}));
  }
}

TEST_P(Route, WeightsAreTheRenormalizedSoftmaxOverAllExperts) {
  const std::vector<float> logits = {std::log(4.0f), std::log(1.0f), std::log(3.0f),
                                     std::log(2.0f)};
  for (const OpTable* each : {&ref_table(), &table()}) {
    const Choices choices = run_route(*each, logits, 4, 2, 1);
    EXPECT_EQ(choices.experts, (std::vector<int32_t>{0, 2}));
    EXPECT_NEAR(choices.weights[0], 4.0f / 7, 1e-6f);
    EXPECT_NEAR(choices.weights[1], 3.0f / 7, 1e-6f);
  }
}

TEST_P(Route, NotANumberStillChoosesDifferentExperts) {
  const std::vector<float> logits = {NAN, NAN, 1, NAN, 2, NAN};
  for (const OpTable* each : {&ref_table(), &table()}) {
    const Choices choices = run_route(*each, logits, 6, 4, 1);
    const std::set<int32_t> distinct(choices.experts.begin(), choices.experts.end());
    EXPECT_EQ(distinct.size(), 4u);
    EXPECT_GE(*distinct.begin(), 0);
    EXPECT_LT(*distinct.rbegin(), 6);
  }
}

struct Experts {
  std::vector<RandomWeight> storage;
  std::vector<SwigluWeights> weights;

  Experts(WeightFormat format, int64_t count, int64_t hidden, int64_t inner, RandomValues& random) {
    storage.reserve(static_cast<size_t>(3 * count));
    for (int64_t e = 0; e < count; ++e) {
      for (const auto& [n, k] : {std::pair{inner, hidden}, {inner, hidden}, {hidden, inner}})
        storage.emplace_back(format, n, k, random);
      const size_t last = storage.size() - 1;
      weights.push_back(
          {storage[last - 2].weight(), storage[last - 1].weight(), storage[last].weight()});
    }
  }
};

std::vector<float> run_experts(const OpTable& table, const Experts& experts,
                               const std::vector<float>& x, const Choices& choices, int64_t tokens,
                               int threads, Activations activations = Activations::f32,
                               bool many_rows = false) {
  OnBackend on(table, threads);
  on.context.activations = activations;
  on.context.many_rows = many_rows;
  const auto hidden = static_cast<int64_t>(x.size()) / tokens;
  const ExpertsOnBackend weights(experts.weights, on.memory);
  const auto x_there = on.copy_of(x), weights_there = on.copy_of(choices.weights);
  const auto experts_there = on.copy_of(choices.experts);
  auto out = on.nans(x.size());
  table.experts({.x = x_there.data(),
                 .experts = experts_there.data(),
                 .weights = weights_there.data(),
                 .expert_weights = weights.weights(),
                 .out = out.data(),
                 .tokens = tokens,
                 .hidden = hidden,
                 .n_chosen = static_cast<int64_t>(choices.experts.size()) / tokens},
                on.context);
  return out.to_vector();
}

class ExpertsOp : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(ExpertsOp);

TEST_P(ExpertsOp, EqualsDefinitionAndDoesNotDependOnThreads) {
  constexpr int64_t kHidden = 64, kInner = 96, kExperts = 9, kChosen = 3;
  uint64_t seed = 20;
  for (const WeightFormat format : kAllWeightFormats)
    for (const int64_t tokens : {1, 2, 3, 7, 64, 65}) {
      if (is_emulated(table()) && tokens != 1 && tokens != 7 && tokens != 65) continue;
      SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << " T " << tokens);
      RandomValues random(seed++);
      const Experts experts(format, kExperts, kHidden, kInner, random);
      const auto x = random.normal(tokens * kHidden, 0.1f);
      const Choices choices =
          run_route(ref_table(), random.normal(tokens * kExperts), kExperts, kChosen, 1);
      const auto expected = run_experts(ref_table(), experts, x, choices, tokens, 1);
      // Three maps in a row, each with the relative error of its sums, on values of this size, and
      // with that of its two factors: 4 standard deviations of a sum of independent ones, which for
      // a large output are larger themselves.
      const float size = norm(expected) / std::sqrt(static_cast<float>(expected.size()));
      std::vector<float> tolerance;
      for (const float y : expected)
        tolerance.push_back(3 * sum_tolerance(kInner, (is_int4(format) ? 4 : 1) * 2 * size) +
                            3 * 4 * 2 * factor_rounding(table()) * std::max(size, std::abs(y)));
      for (const bool many_rows : {false, true})
        expect_close(
            run_experts(table(), experts, x, choices, tokens, 2, Activations::f32, many_rows),
            expected, tolerance, random.seed());
      if (!table().memory->is_host) continue;
      expect_same_bits_for_all_thread_counts(
          [&](int threads) { return run_experts(table(), experts, x, choices, tokens, threads); });
    }
}

TEST_P(ExpertsOp, OneExpertForAllTokensIsReadOnceAndRight) {
  RandomValues random(5);
  const Experts experts(WeightFormat::int4, 4, 32, 40, random);
  const int64_t tokens = 50;
  const auto x = random.normal(tokens * 32, 0.1f);
  const Choices choices{std::vector<int32_t>(50, 2), random.uniform(50, 0.1f, 1)};
  const auto expected = run_experts(ref_table(), experts, x, choices, tokens, 1);
  const float size = norm(expected) / 40;
  expect_close(run_experts(table(), experts, x, choices, tokens, 2), expected,
               3 * sum_tolerance(40, 4 * size) + 3 * 4 * 2 * factor_rounding(table()) * size,
               random.seed());
}

// A prompt in pieces, or a token among others, must give the bits it gives alone.
TEST_P(ExpertsOp, ATokensBitsDoNotDependOnItsNeighbours) {
  constexpr int64_t kHidden = 256, kInner = 160, kExperts = 5, kChosen = 2, kTokens = 41;
  RandomValues random(6);
  for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::int4_zeros}) {
    const Experts experts(format, kExperts, kHidden, kInner, random);
    const auto x = random.normal(kTokens * kHidden, 0.1f);
    const Choices choices =
        run_route(ref_table(), random.normal(kTokens * kExperts), kExperts, kChosen, 1);
    const auto together = run_experts(table(), experts, x, choices, kTokens, 2);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1}, {3, 2}, {29, 12}}) {
      const auto part = [&](const auto& all, int64_t width) {
        return std::vector(all.begin() + first * width, all.begin() + (first + count) * width);
      };
      EXPECT_EQ(
          run_experts(table(), experts, part(x, kHidden),
                      {part(choices.experts, kChosen), part(choices.weights, kChosen)}, count, 2),
          part(together, kHidden));
    }
  }
}

class ExpertsInt8 : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_simd_target(GetParam()); }
  void TearDown() override { force_simd_target(""); }
};

TEST_P(ExpertsInt8, FastVersionEqualsDefinitionAndATokensBitsDependOnNothingElse) {
  struct Sizes {
    int64_t hidden, inner, experts;
  };
  // The last has maps of several segments; 110 tokens make more choices than are split into them.
  for (const Sizes& sizes : {Sizes{64, 96, 9}, Sizes{96, 40, 5}, Sizes{1024, 1024, 3}}) {
    RandomValues random(3);
    const int64_t tokens = sizes.hidden > 100 ? 21 : 110, chosen = 3;
    const Experts experts(WeightFormat::int4_zeros, sizes.experts, sizes.hidden, sizes.inner,
                          random);
    const auto x = random.normal(tokens * sizes.hidden, 0.1f);
    const Choices choices =
        run_route(ref_table(), random.normal(tokens * sizes.experts), sizes.experts, chosen, 1);
    const auto run = [&](const OpTable& table, int64_t first, int64_t count, int threads) {
      const auto part = [&](const auto& of_tokens, int64_t width) {
        return std::vector(of_tokens.begin() + first * width,
                           of_tokens.begin() + (first + count) * width);
      };
      return run_experts(table, experts, part(x, sizes.hidden),
                         {part(choices.experts, chosen), part(choices.weights, chosen)}, count,
                         threads, Activations::int8);
    };
    const OpTable& cpu = select_backend("cpu");
    const auto all = run(cpu, 0, tokens, 2);
    for (const int threads : {1, 3}) EXPECT_EQ(run(cpu, 0, tokens, threads), all);
    int64_t first = 0;
    for (const int64_t count : {1, 2, 5, 12}) {
      const std::vector expected(all.begin() + first * sizes.hidden,
                                 all.begin() + (first + count) * sizes.hidden);
      EXPECT_EQ(run(cpu, first, count, 2), expected) << count << " tokens";
      first += count;
    }
    const int64_t compared = sizes.hidden > 100 ? 1 : 20;
    const auto expected = run(ref_table(), 0, compared, 1);
    // Inner values that differ in the last bit may be rounded to neighbouring steps.
    const float size = norm(expected) / std::sqrt(static_cast<float>(expected.size()));
    expect_close(std::span(all).first(expected.size()), expected, 0.01f * size, random.seed());
  }
}

INSTANTIATE_TEST_SUITE_P(, ExpertsInt8, testing::ValuesIn(simd_targets()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qround::ops
