#include <gtest/gtest.h>

#include <cmath>

#include "ops/causal_conv1d.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Operands {
  int64_t sequences, tokens, channels, taps;
  std::vector<float> u, weight, d_out;

  Operands(int64_t of_sequences, int64_t of_tokens, int64_t of_channels, int64_t of_taps,
           RandomValues& random)
      : sequences(of_sequences),
        tokens(of_tokens),
        channels(of_channels),
        taps(of_taps),
        u(random.normal(sequences * tokens * channels)),
        weight(random.normal(channels * taps)),
        d_out(random.normal(sequences * tokens * channels)) {}

  double loss(const Doubles& at_u, const Doubles& at_weight) const {
    double sum = 0;
    for (int64_t row = 0; row < sequences * tokens; ++row)
      for (int64_t c = 0; c < channels; ++c) {
        double pre = 0;
        for (int64_t j = 0; j < taps; ++j) {
          const int64_t back = taps - 1 - j;
          if (row % tokens < back) continue;
          pre += at_weight[static_cast<size_t>(c * taps + j)] *
                 at_u[static_cast<size_t>((row - back) * channels + c)];
        }
        sum += double{d_out[static_cast<size_t>(row * channels + c)]} * pre / (1 + std::exp(-pre));
      }
    return sum;
  }

  enum class Place { apart, of_u, of_d_out };
  struct Gradients {
    std::vector<float> u, weight;
  };
  Gradients run(CausalConv1dSiluBackwardFunction* backward, int threads, Place place = Place::apart,
                bool with_weight = true) const {
    Workspace workspace;
    std::vector<float> d_weight(weight.size());
    std::vector<float> du = place == Place::of_u       ? u
                            : place == Place::of_d_out ? d_out
                                                       : std::vector<float>(u.size(), NAN);
    backward({.u = place == Place::of_u ? du.data() : u.data(),
              .weight = weight.data(),
              .d_out = place == Place::of_d_out ? du.data() : d_out.data(),
              .du = du.data(),
              .d_weight = with_weight ? d_weight.data() : nullptr,
              .sequences = sequences,
              .tokens = tokens,
              .channels = channels,
              .taps = taps},
             {{threads}, workspace});
    return {du, d_weight};
  }
};

TEST(CausalConv1dSiluBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const int64_t tokens : {1, 2, 3, 9})
    for (const int64_t taps : {1, 2, 4}) {
      const Operands operands(2, tokens, 19, taps, random);
      const Doubles u = to_doubles(operands.u), weight = to_doubles(operands.weight);
      const Doubles du =
          central_differences([&](const Doubles& at) { return operands.loss(at, weight); }, u);
      const Doubles d_weight =
          central_differences([&](const Doubles& at) { return operands.loss(u, at); }, weight);
      for (auto* backward : {ref::causal_conv1d_silu_backward, cpu::causal_conv1d_silu_backward}) {
        const auto actual = operands.run(backward, 2);
        expect_gradient(actual.u, du, taps, random.seed());
        expect_gradient(actual.weight, d_weight, 2 * tokens, random.seed());
      }
    }
}

TEST(CausalConv1dSiluBackward, FastVersionEqualsDefinitionOnManyChannels) {
  RandomValues random(2);
  const Operands operands(3, 70, 300, 4, random);
  const auto expected = operands.run(ref::causal_conv1d_silu_backward, 1);
  const auto actual = operands.run(cpu::causal_conv1d_silu_backward, 2);
  expect_gradient(actual.u, to_doubles(expected.u), 4, random.seed());
  expect_gradient(actual.weight, to_doubles(expected.weight), 210, random.seed());
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [u, weight] = operands.run(cpu::causal_conv1d_silu_backward, threads);
    u.insert(u.end(), weight.begin(), weight.end());
    return u;
  });
}

TEST(CausalConv1dSiluBackward, FastVersionWritesOverEitherOperand) {
  RandomValues random(3);
  const Operands operands(2, 9, 140, 4, random);
  const auto apart = operands.run(cpu::causal_conv1d_silu_backward, 2);
  for (const auto place : {Operands::Place::of_u, Operands::Place::of_d_out})
    for (const bool with_weight : {true, false}) {
      const auto d = operands.run(cpu::causal_conv1d_silu_backward, 2, place, with_weight);
      EXPECT_EQ(d.u, apart.u);
      if (with_weight) {
        EXPECT_EQ(d.weight, apart.weight);
      }
    }
}

}  // namespace
}  // namespace qround::ops
