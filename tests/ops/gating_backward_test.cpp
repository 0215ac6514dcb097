#include <gtest/gtest.h>

#include <cmath>

#include "ops/gating.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct SwigluOperands {
  std::vector<float> gate, up, d_out;

  SwigluOperands(int64_t count, RandomValues& random)
      : gate(random.normal(count, 3)), up(random.normal(count)), d_out(random.normal(count)) {}

  // The gate's gradient, then that of up, in their places.
  std::vector<float> run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    std::vector<float> values = gate;
    values.insert(values.end(), up.begin(), up.end());
    auto both = on.copy_of(values);
    const auto d = on.copy_of(d_out);
    float* of_up = both.data() + gate.size();
    table.swiglu_backward({.gate = both.data(),
                           .up = of_up,
                           .d_out = d.data(),
                           .d_gate = both.data(),
                           .d_up = of_up,
                           .count = static_cast<int64_t>(gate.size())},
                          on.context);
    return both.to_vector();
  }
};

class SwigluBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SwigluBackward);

TEST_P(SwigluBackward, EqualsFiniteDifferencesInPlace) {
  RandomValues random(1);
  for (const int64_t count : {1, 16, 45}) {
    const SwigluOperands operands(count, random);
    const auto n = static_cast<size_t>(count);
    Doubles both = to_doubles(operands.gate);
    for (float value : operands.up) both.push_back(double{value});
    const auto loss = [&](const Doubles& at) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i)
        sum += double{operands.d_out[i]} * at[i] * sigmoid(at[i]) * at[n + i];
      return sum;
    };
    const Doubles expected = central_differences(loss, both);
    for (const OpTable* each : {&ref_table(), &table()})
      expect_gradient(operands.run(*each, 2), expected, 1, random.seed());
  }
}

TEST_P(SwigluBackward, EqualsDefinitionForAllThreadCounts) {
  RandomValues random(2);
  const SwigluOperands operands(50'001, random);
  expect_gradient(operands.run(table(), 2), to_doubles(operands.run(ref_table(), 1)), 1,
                  random.seed());
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return operands.run(table(), threads); });
}

struct Gate {
  int64_t rows, width, gate_width;
  std::vector<float> x, gate, d_out;

  Gate(int64_t of_rows, int64_t of_width, bool one_gate, RandomValues& random)
      : rows(of_rows),
        width(of_width),
        gate_width(one_gate ? 1 : of_width),
        x(random.normal(rows * width)),
        gate(random.normal(rows * gate_width, 3)),
        d_out(random.normal(rows * width)) {}

  double loss(const Doubles& at_x, const Doubles& at_gate) const {
    double sum = 0;
    const auto per_gate = static_cast<size_t>(width / gate_width);
    for (size_t i = 0; i < at_x.size(); ++i)
      sum += double{d_out[i]} * at_x[i] * sigmoid(at_gate[i / per_gate]);
    return sum;
  }

  struct Gradients {
    std::vector<float> x, gate;
  };
  // In the places of d_out and gate.
  Gradients run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    const auto x_ = on.copy_of(x);
    auto dx = on.copy_of(d_out), d_gate = on.copy_of(gate);
    table.sigmoid_gate_backward({.x = x_.data(),
                                 .gate = d_gate.data(),
                                 .d_out = dx.data(),
                                 .dx = dx.data(),
                                 .d_gate = d_gate.data(),
                                 .rows = rows,
                                 .width = width,
                                 .gate_width = gate_width},
                                on.context);
    return {dx.to_vector(), d_gate.to_vector()};
  }
};

class SigmoidGateBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SigmoidGateBackward);

TEST_P(SigmoidGateBackward, EqualsFiniteDifferencesForOneGateAndForMany) {
  RandomValues random(3);
  for (const bool one_gate : {true, false})
    for (const int64_t width : {2, 16, 37}) {
      const Gate operands(3, width, one_gate, random);
      const Doubles x = to_doubles(operands.x), gate = to_doubles(operands.gate);
      const Doubles dx =
          central_differences([&](const Doubles& at) { return operands.loss(at, gate); }, x);
      const Doubles d_gate =
          central_differences([&](const Doubles& at) { return operands.loss(x, at); }, gate);
      for (const OpTable* each : {&ref_table(), &table()}) {
        const auto actual = operands.run(*each, 2);
        expect_gradient(actual.x, dx, 1, random.seed());
        expect_gradient(actual.gate, d_gate, width, random.seed());
      }
    }
}

TEST_P(SigmoidGateBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  for (const bool one_gate : {true, false}) {
    const Gate operands(500, 130, one_gate, random);
    expect_same_bits_for_all_thread_counts([&](int threads) {
      auto [x, gate] = operands.run(table(), threads);
      x.insert(x.end(), gate.begin(), gate.end());
      return x;
    });
  }
}

}  // namespace
}  // namespace qround::ops
