#include <gtest/gtest.h>

#include <cmath>

#include "ops/causal_conv1d.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
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
  Gradients run(const OpTable& table, int threads, Place place = Place::apart,
                bool with_weight = true) const {
    OnBackend on(table, threads);
    const auto weight_ = on.copy_of(weight);
    auto u_ = on.copy_of(u), d_out_ = on.copy_of(d_out), apart = on.nans(u.size());
    auto d_weight = on.zeros(weight.size());
    auto& du = place == Place::of_u ? u_ : place == Place::of_d_out ? d_out_ : apart;
    table.causal_conv1d_silu_backward({.u = u_.data(),
                                       .weight = weight_.data(),
                                       .d_out = d_out_.data(),
                                       .du = du.data(),
                                       .d_weight = with_weight ? d_weight.data() : nullptr,
                                       .sequences = sequences,
                                       .tokens = tokens,
                                       .channels = channels,
                                       .taps = taps},
                                      on.context);
    return {du.to_vector(), d_weight.to_vector()};
  }
};

class CausalConv1dSiluBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(CausalConv1dSiluBackward);

TEST_P(CausalConv1dSiluBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const int64_t tokens : {1, 2, 3, 9})
    for (const int64_t taps : {1, 2, 4}) {
      const Operands operands(2, tokens, 19, taps, random);
      const Doubles u = to_doubles(operands.u), weight = to_doubles(operands.weight);
      const Doubles du =
          central_differences([&](const Doubles& at) { return operands.loss(at, weight); }, u);
      const Doubles d_weight =
          central_differences([&](const Doubles& at) { return operands.loss(u, at); }, weight);
      for (const OpTable* each : {&ref_table(), &table()}) {
        const auto actual = operands.run(*each, 2);
        expect_gradient(actual.u, du, taps, random.seed());
        expect_gradient(actual.weight, d_weight, 2 * tokens, random.seed());
      }
    }
}

TEST_P(CausalConv1dSiluBackward, EqualsDefinitionOnManyChannels) {
  RandomValues random(2);
  const Operands operands(3, 70, 300, 4, random);
  const auto expected = operands.run(ref_table(), 1);
  const auto actual = operands.run(table(), 2);
  expect_gradient(actual.u, to_doubles(expected.u), 4, random.seed());
  expect_gradient(actual.weight, to_doubles(expected.weight), 210, random.seed());
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [u, weight] = operands.run(table(), threads);
    u.insert(u.end(), weight.begin(), weight.end());
    return u;
  });
}

TEST_P(CausalConv1dSiluBackward, WritesOverEitherOperand) {
  RandomValues random(3);
  const Operands operands(2, 9, 140, 4, random);
  const auto apart = operands.run(table(), 2);
  for (const auto place : {Operands::Place::of_u, Operands::Place::of_d_out})
    for (const bool with_weight : {true, false}) {
      const auto d = operands.run(table(), 2, place, with_weight);
      EXPECT_EQ(d.u, apart.u);
      if (with_weight) {
        EXPECT_EQ(d.weight, apart.weight);
      }
    }
}

}  // namespace
}  // namespace qround::ops
