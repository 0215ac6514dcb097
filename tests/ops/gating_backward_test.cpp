#include <gtest/gtest.h>

#include <cmath>

#include "ops/gating.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Swiglu {
  std::vector<float> gate, up, d_out;

  Swiglu(int64_t count, RandomValues& random)
      : gate(random.normal(count, 3)), up(random.normal(count)), d_out(random.normal(count)) {}

  // The gate's gradient, then that of up, in their places.
  std::vector<float> run(SwigluBackwardFunction* backward, int threads) const {
    Workspace workspace;
    std::vector<float> both = gate;
    both.insert(both.end(), up.begin(), up.end());
    float* of_up = both.data() + gate.size();
    backward({.gate = both.data(),
              .up = of_up,
              .d_out = d_out.data(),
              .d_gate = both.data(),
              .d_up = of_up,
              .count = static_cast<int64_t>(gate.size())},
             {{threads}, workspace});
    return both;
  }
};

TEST(SwigluBackward, EqualsFiniteDifferencesInPlace) {
  RandomValues random(1);
  for (const int64_t count : {1, 16, 45}) {
    const Swiglu operands(count, random);
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
    for (auto* backward : {ref::swiglu_backward, cpu::swiglu_backward})
      expect_gradient(operands.run(backward, 2), expected, 1, random.seed());
  }
}

TEST(SwigluBackward, FastVersionEqualsDefinitionForAllThreadCounts) {
  RandomValues random(2);
  const Swiglu operands(50'001, random);
  expect_gradient(operands.run(cpu::swiglu_backward, 2),
                  to_doubles(operands.run(ref::swiglu_backward, 1)), 1, random.seed());
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return operands.run(cpu::swiglu_backward, threads); });
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
  Gradients run(SigmoidGateBackwardFunction* backward, int threads) const {
    Workspace workspace;
    Gradients d{d_out, gate};
    backward({.x = x.data(),
              .gate = d.gate.data(),
              .d_out = d.x.data(),
              .dx = d.x.data(),
              .d_gate = d.gate.data(),
              .rows = rows,
              .width = width,
              .gate_width = gate_width},
             {{threads}, workspace});
    return d;
  }
};

TEST(SigmoidGateBackward, EqualsFiniteDifferencesForOneGateAndForMany) {
  RandomValues random(3);
  for (const bool one_gate : {true, false})
    for (const int64_t width : {2, 16, 37}) {
      const Gate operands(3, width, one_gate, random);
      const Doubles x = to_doubles(operands.x), gate = to_doubles(operands.gate);
      const Doubles dx =
          central_differences([&](const Doubles& at) { return operands.loss(at, gate); }, x);
      const Doubles d_gate =
          central_differences([&](const Doubles& at) { return operands.loss(x, at); }, gate);
      for (auto* backward : {ref::sigmoid_gate_backward, cpu::sigmoid_gate_backward}) {
        const auto actual = operands.run(backward, 2);
        expect_gradient(actual.x, dx, 1, random.seed());
        expect_gradient(actual.gate, d_gate, width, random.seed());
      }
    }
}

TEST(SigmoidGateBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  for (const bool one_gate : {true, false}) {
    const Gate operands(500, 130, one_gate, random);
    expect_same_bits_for_all_thread_counts([&](int threads) {
      auto [x, gate] = operands.run(cpu::sigmoid_gate_backward, threads);
      x.insert(x.end(), gate.begin(), gate.end());
      return x;
    });
  }
}

}  // namespace
}  // namespace qround::ops
