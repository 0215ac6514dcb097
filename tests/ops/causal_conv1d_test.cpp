#include "ops/causal_conv1d.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Operands {
  int64_t tokens, channels, taps;
  std::vector<float> u, weight, history;

  Operands(int64_t tokens_, int64_t channels_, int64_t taps_, RandomValues& random)
      : tokens(tokens_),
        channels(channels_),
        taps(taps_),
        u(random.normal(tokens_ * channels_)),
        weight(random.normal(channels_ * taps_)),
        history(random.normal((taps_ - 1) * channels_)) {}
};

// Outputs, then the history left behind; in pieces of `piece` tokens.
std::vector<float> run(const OpTable& table, const Operands& operands, int threads,
                       int64_t piece = 1 << 30) {
  OnBackend on(table, threads);
  const auto u = on.copy_of(operands.u), weight = on.copy_of(operands.weight);
  auto out = on.nans(operands.u.size()), history = on.copy_of(operands.history);
  for (int64_t begin = 0; begin < operands.tokens; begin += piece) {
    const int64_t offset = begin * operands.channels;
    table.causal_conv1d_silu({.u = u.data() + offset,
                              .weight = weight.data(),
                              .history = history.data(),
                              .out = out.data() + offset,
                              .tokens = std::min(piece, operands.tokens - begin),
                              .channels = operands.channels,
                              .taps = operands.taps},
                             on.context);
  }
  std::vector<float> result = out.to_vector();
  const std::vector<float> left = history.to_vector();
  result.insert(result.end(), left.begin(), left.end());
  return result;
}

// SiLU's slope stays below 1.1; its own error is relative to its argument.
constexpr float kTolerance =
    100 * kEps;  // sums of at most 5 products of normal variables, |.| < 40

class CausalConv1d : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(CausalConv1d);

TEST_P(CausalConv1d, EqualsDefinitionOnOddShapes) {
  uint64_t seed = 1;
  for (const int64_t tokens : {1, 2, 3, 7, 64, 65, 130})
    for (const int64_t channels : {1, 16, 37, 256, 300, 520})
      for (const int64_t taps : {1, 2, 4, 5}) {
        SCOPED_TRACE(testing::Message() << "T " << tokens << " C " << channels << " taps " << taps);
        RandomValues random(seed++);
        const Operands operands(tokens, channels, taps, random);
        expect_close(run(table(), operands, 2), run(ref_table(), operands, 1), kTolerance,
                     random.seed());
      }
}

TEST_P(CausalConv1d, BitsDoNotDependOnThreadsOrPieces) {
  RandomValues random(9);
  const Operands operands(70, 1300, 4, random);
  const auto whole = run(table(), operands, 1);
  for (int threads : {1, 2, 3})
    for (const int64_t piece : {1, 2, 3, 7, 64, 100})
      EXPECT_EQ(run(table(), operands, threads, piece), whole)
          << threads << " threads, pieces of " << piece;
}

TEST(CausalConv1dDefinition, AppliesTheLastTapToTheCurrentToken) {
  Workspace workspace;
  const std::vector<float> u = {10, 20}, weight = {1, 100, 10000};
  std::vector<float> history = {1, 2}, out(2);
  ref::causal_conv1d_silu({.u = u.data(),
                           .weight = weight.data(),
                           .history = history.data(),
                           .out = out.data(),
                           .tokens = 2,
                           .channels = 1,
                           .taps = 3},
                          {.threads = {1}, .workspace = workspace});
  EXPECT_EQ(out, (std::vector<float>{1 + 200 + 100000, 2 + 1000 + 200000}));  // silu(x) = x up here
  EXPECT_EQ(history, (std::vector<float>{10, 20}));
}

}  // namespace
}  // namespace qround::ops
