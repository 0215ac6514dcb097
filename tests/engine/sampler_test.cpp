#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.h"

namespace qround {
namespace {

std::vector<int> draw_many(const SamplingOptions& options, const std::vector<float>& logits,
                           int n) {
  std::vector<int> counts(logits.size());
  Sampler sampler(options, {});
  for (int i = 0; i < n; ++i) {
    std::vector<float> copy = logits;
    ++counts[static_cast<size_t>(sampler.sample(copy))];
  }
  return counts;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  Sampler sampler({}, {});
  std::vector<float> logits = {1, 3, 2, 3};
  EXPECT_EQ(sampler.sample(logits), 1);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0, 1, 2, -1};
  constexpr int kDraws = 40000;
  const std::vector<int> counts = draw_many({.temperature = 0.8f, .seed = 3}, logits, kDraws);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / 0.8);
  for (size_t token = 0; token < logits.size(); ++token) {
    const double p = std::exp(logits[token] / 0.8) / total;
    const double deviation = std::sqrt(p * (1 - p) / kDraws);
    EXPECT_NEAR(counts[token] / double{kDraws}, p, 5 * deviation) << token;
  }
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  EXPECT_EQ(draw_many({.temperature = 1, .top_k = 1}, logits, 200)[0], 200);
  const std::vector<int> top_k = draw_many({.temperature = 1, .top_k = 2}, logits, 2000);
  EXPECT_EQ(top_k[2] + top_k[3], 0);
  EXPECT_GT(top_k[1], 0);
  const std::vector<int> top_p = draw_many({.temperature = 1, .top_p = 0.79f}, logits, 2000);
  EXPECT_EQ(top_p[2] + top_p[3], 0);
  EXPECT_GT(top_p[1], 0);
  const std::vector<int> min_p = draw_many({.temperature = 1, .min_p = 0.2f}, logits, 2000);
  EXPECT_EQ(min_p[3], 0);
  EXPECT_GT(min_p[2], 0);
}

TEST(Sampler, TheSameSeedGivesTheSameDrawsAndAnotherSeedOthers) {
  const std::vector<float> logits(50, 0.0f);
  const auto sequence = [&](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed}, {});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> copy = logits;
      tokens.push_back(sampler.sample(copy));
    }
    return tokens;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
}

TEST(Sampler, RepetitionPenaltyCountsThePromptPresenceOnlyTheOutput) {
  const std::array<int32_t, 1> prompt = {0};
  Sampler repetition({.repetition_penalty = 2}, prompt);
  std::vector<float> logits = {3, 2, -1};
  EXPECT_EQ(repetition.sample(logits), 1);
  EXPECT_EQ(logits[0], 1.5f);

  Sampler presence({.presence_penalty = 2}, prompt);
  logits = {3, 2, -1};
  EXPECT_EQ(presence.sample(logits), 0);
  logits = {3, 2, -1};
  EXPECT_EQ(presence.sample(logits), 1);
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  EXPECT_THROW(Sampler({.temperature = -1}, {}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}, {}), Error);
  EXPECT_THROW(Sampler({.min_p = 2}, {}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}, {}), Error);
  EXPECT_THROW(Sampler({.temperature = NAN}, {}), Error);
}

}  // namespace
}  // namespace qround
