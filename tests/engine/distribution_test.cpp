// Sampled tokens follow the model's distribution, whether drafts are verified on the way or not.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "tests/engine/drafting.h"

namespace qround {
namespace {

// The second token of a sampled output is chosen while a draft of it is verified. Its frequencies
// over many seeds must be those of the model's own probabilities.
TEST(Distribution, SampledTokensFollowTheModelsDistribution) {
  const RandomModelDirectory directory;
  const RandomModelShape shape{.vocab = 24};
  const Model model = make_random_model(directory.path(), shape, 5);
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5};
  constexpr float kTemperature = 2.0f;
  ops::Workspace workspace;
  const Executor executor{ops::select_host_backend(), {Threads{1}, workspace}};
  const auto probabilities = [&](const std::vector<int32_t>& ids) {
    SequenceState state(model.config());
    std::vector<float> hidden(ids.size() * static_cast<size_t>(shape.hidden));
    std::vector<float> logits(static_cast<size_t>(shape.vocab));
    model.forward(ids, state, hidden.data(), executor);
    model.logits(hidden.data() + (ids.size() - 1) * static_cast<size_t>(shape.hidden), 1,
                 logits.data(), executor);
    std::vector<double> p;
    double total = 0;
    for (const float logit : logits) total += p.emplace_back(std::exp(logit / kTemperature));
    for (double& value : p) value /= total;
    return p;
  };
  const std::vector<double> first = probabilities(prompt);
  std::vector<double> second(first.size());
  for (size_t token = 0; token < first.size(); ++token) {
    std::vector<int32_t> longer = prompt;
    longer.push_back(static_cast<int32_t>(token));
    const std::vector<double> after = probabilities(longer);
    for (size_t i = 0; i < after.size(); ++i) second[i] += first[token] * after[i];
  }

  constexpr int kDraws = 3000;
  std::vector<double> counts(first.size());
  int64_t drafted = 0, accepted = 0;
  Engine engine(model, ops::select_host_backend(), options_for(2));
  std::vector<Generation> generations;
  for (int begin = 0; begin < kDraws; begin += 200) {
    generations.clear();
    for (int seed = begin; seed < begin + 200; ++seed)
      generations.push_back(engine.submit(
          {.tokens = prompt,
           .sampling = {.temperature = kTemperature, .seed = static_cast<uint64_t>(seed)},
           .max_tokens = 4}));
    for (Generation& generation : generations) {
      const EngineOutput output = output_of(std::move(generation));
      ++counts[static_cast<size_t>(output.tokens[1])];
      drafted += output.finish.usage.drafted_tokens;
      accepted += output.finish.usage.accepted_tokens;
    }
  }
  EXPECT_GE(drafted, kDraws);
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, drafted);
  double chi_square = 0, degrees = -1, rare_expected = 0, rare_seen = 0;
  const auto add = [&](double seen, double expected) {
    chi_square += (seen - expected) * (seen - expected) / expected;
    ++degrees;
  };
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = second[i] * kDraws;
    if (expected >= 5) {
      add(counts[i], expected);
    } else {
      rare_seen += counts[i];
      rare_expected += expected;
    }
  }
  if (rare_expected > 0) add(rare_seen, std::max(rare_expected, 1.0));
  std::cout << "chi-square " << chi_square << " at " << degrees << " degrees of freedom, "
            << accepted << " of " << drafted << " drafts accepted\n";
  EXPECT_LT(chi_square, degrees + 5 * std::sqrt(2 * degrees));
}

// Numbers of each token at each place of the output, over `count` seeds.
struct Sampled {
  std::vector<std::vector<double>> counts;  // [place][token]
  int64_t drafted = 0, accepted = 0;
};

Sampled sample(const Model& model, const std::vector<int32_t>& prompt, int depth,
               uint64_t first_seed, uint64_t count) {
  constexpr int64_t kPlaces = 6;
  constexpr uint64_t kAtOnce = 200;
  Engine engine(model, ops::select_host_backend(), options_for(depth));
  Sampled sampled;
  sampled.counts.assign(kPlaces, std::vector<double>(static_cast<size_t>(model.config().vocab)));
  for (uint64_t begin = first_seed; begin < first_seed + count; begin += kAtOnce) {
    std::vector<Generation> generations;
    for (uint64_t seed = begin; seed < begin + kAtOnce; ++seed)
      generations.push_back(engine.submit({.tokens = prompt,
                                           .sampling = {.temperature = 1.5f, .seed = seed},
                                           .max_tokens = kPlaces}));
    for (Generation& generation : generations) {
      const EngineOutput output = output_of(std::move(generation));
      for (size_t place = 0; place < output.tokens.size(); ++place)
        ++sampled.counts[place][static_cast<size_t>(output.tokens[place])];
      sampled.drafted += output.finish.usage.drafted_tokens;
      sampled.accepted += output.finish.usage.accepted_tokens;
    }
  }
  return sampled;
}

// How far two samples of equal size are from one distribution, in standard deviations of the
// chi-square statistic. Tokens seen rarely count as one.
double deviations(const std::vector<double>& a, const std::vector<double>& b) {
  double chi_square = 0, degrees = -1, rare_a = 0, rare_b = 0;
  const auto add = [&](double x, double y) {
    if (x + y == 0) return;
    chi_square += (x - y) * (x - y) / (x + y);
    ++degrees;
  };
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] + b[i] >= 20) {
      add(a[i], b[i]);
    } else {
      rare_a += a[i];
      rare_b += b[i];
    }
  }
  add(rare_a, rare_b);
  return degrees < 1 ? 0 : (chi_square - degrees) / std::sqrt(2 * degrees);
}

// Other seeds with drafts than without, so that equal outputs for equal seeds prove nothing here.
TEST(FullDistribution, ATrainedModelSamplesAlikeWithAndWithoutDrafts) {
  const Model model = load("models/pocket");
  constexpr uint64_t kSeeds = 2000;
  uint64_t prompt_seed = 0;
  double largest = 0;
  for (const std::vector<int32_t>& prompt : pocket_prompts(4)) {
    prompt_seed += 1'000'000;
    const Sampled plain = sample(model, prompt, 0, prompt_seed, kSeeds);
    for (const int depth : {1, 3}) {
      const Sampled drafted = sample(model, prompt, depth,
                                     prompt_seed + 100'000 * static_cast<uint64_t>(depth), kSeeds);
      EXPECT_GT(drafted.accepted, 0);
      EXPECT_LT(drafted.accepted, drafted.drafted);
      std::cout << "depth " << depth << ", " << drafted.accepted << " of " << drafted.drafted
                << " drafts accepted, deviations by place:";
      for (size_t place = 0; place < plain.counts.size(); ++place) {
        const double here = deviations(plain.counts[place], drafted.counts[place]);
        std::cout << " " << here;
        largest = std::max(largest, here);
      }
      std::cout << "\n";
    }
  }
  EXPECT_LT(largest, 5);
}

// The comparison above would see a fault: samples of two distributions that differ a little.
TEST(Distribution, TheComparisonTellsDistributionsApart) {
  std::vector<double> a(40), b(40);
  for (uint64_t i = 0; i < 4000; ++i) {
    ++a[static_cast<size_t>(40 * std::pow(random_unit(1, 0, i), 2.0))];
    ++b[static_cast<size_t>(40 * std::pow(random_unit(2, 0, i), 1.6))];
  }
  EXPECT_GT(deviations(a, b), 5);
}

}  // namespace
}  // namespace qround
