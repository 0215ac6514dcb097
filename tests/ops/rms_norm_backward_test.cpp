#include <gtest/gtest.h>

#include <cmath>

#include "ops/rms_norm.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

constexpr float kEpsilon = 1e-2f;  // large enough to matter beside mean(x²)
constexpr RmsNormShape kShapes[] = {{3, 5, kEpsilon}, {4, 32, kEpsilon}, {2, 131, kEpsilon}};

double inverse_rms(const double* x, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  return 1 / std::sqrt(sum / static_cast<double>(width) + double{kEpsilon});
}

double silu(double x) { return x / (1 + std::exp(-x)); }

struct ZeroCentered {
  RmsNormShape shape;
  std::vector<float> x, weight, dy;

  ZeroCentered(RmsNormShape of, RandomValues& random)
      : shape(of),
        x(random.normal(of.rows * of.width)),
        weight(random.normal(of.width, 0.5f)),
        dy(random.normal(of.rows * of.width)) {}

  double loss(const Doubles& at_x, const Doubles& at_weight) const {
    double sum = 0;
    for (size_t i = 0; i < at_x.size(); ++i) {
      const auto width = static_cast<size_t>(shape.width);
      const double r = inverse_rms(at_x.data() + i / width * width, shape.width);
      sum += double{dy[i]} * at_x[i] * r * (1 + at_weight[i % width]);
    }
    return sum;
  }

  struct Gradients {
    std::vector<float> x, weight;
  };
  Gradients run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    const auto x_ = on.copy_of(x), weight_ = on.copy_of(weight), dy_ = on.copy_of(dy);
    auto dx = on.nans(x.size()), d_weight = on.zeros(weight.size());
    table.zero_centered_rms_norm_backward({.x = x_.data(),
                                           .weight = weight_.data(),
                                           .dy = dy_.data(),
                                           .dx = dx.data(),
                                           .d_weight = d_weight.data(),
                                           .shape = shape},
                                          on.context);
    return {dx.to_vector(), d_weight.to_vector()};
  }
};

class ZeroCenteredRmsNormBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(ZeroCenteredRmsNormBackward);

TEST_P(ZeroCenteredRmsNormBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const RmsNormShape shape : kShapes) {
    const ZeroCentered operands(shape, random);
    const Doubles x = to_doubles(operands.x), weight = to_doubles(operands.weight);
    const Doubles dx =
        central_differences([&](const Doubles& at) { return operands.loss(at, weight); }, x);
    const Doubles d_weight =
        central_differences([&](const Doubles& at) { return operands.loss(x, at); }, weight);
    for (const OpTable* each : {&ref_table(), &table()}) {
      const auto actual = operands.run(*each, 2);
      expect_gradient(actual.x, dx, shape.width, random.seed());
      expect_gradient(actual.weight, d_weight, shape.rows, random.seed());
    }
  }
}

TEST_P(ZeroCenteredRmsNormBackward, EqualsDefinitionOnManyRows) {
  RandomValues random(2);
  const ZeroCentered operands({300, 200, kEpsilon}, random);
  const auto expected = operands.run(ref_table(), 1);
  const auto actual = operands.run(table(), 2);
  expect_gradient(actual.x, to_doubles(expected.x), 200, random.seed());
  expect_gradient(actual.weight, to_doubles(expected.weight), 300, random.seed());
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [x, weight] = operands.run(table(), threads);
    x.insert(x.end(), weight.begin(), weight.end());
    return x;
  });
}

TEST_P(ZeroCenteredRmsNormBackward, WritesOverItsInputGradientOrAddsToAnother) {
  RandomValues random(3);
  const ZeroCentered operands({7, 40, kEpsilon}, random);
  for (const OpTable* each : {&ref_table(), &table()}) {
    const auto apart = operands.run(*each, 1).x;
    OnBackend on(*each, 1);
    const auto x = on.copy_of(operands.x), weight = on.copy_of(operands.weight),
               dy = on.copy_of(operands.dy);
    auto in_place = on.copy_of(operands.dy);
    auto sum = on.copy_of(std::vector<float>(apart.size(), 2.0f));
    ZeroCenteredRmsNormBackwardArgs args{.x = x.data(),
                                         .weight = weight.data(),
                                         .dy = in_place.data(),
                                         .dx = in_place.data(),
                                         .shape = operands.shape};
    each->zero_centered_rms_norm_backward(args, on.context);
    EXPECT_EQ(in_place.to_vector(), apart);
    args.dy = dy.data();
    args.dx = sum.data();
    args.add_to_dx = true;
    each->zero_centered_rms_norm_backward(args, on.context);
    const std::vector<float> added = sum.to_vector();
    for (size_t i = 0; i < added.size(); ++i) EXPECT_EQ(added[i], 2.0f + apart[i]);
  }
}

struct Gated {
  RmsNormShape shape;
  std::vector<float> x, gate, weight, dy;

  Gated(RmsNormShape of, RandomValues& random)
      : shape(of),
        x(random.normal(of.rows * of.width)),
        gate(random.normal(of.rows * of.width, 2)),
        weight(random.normal(of.width)),
        dy(random.normal(of.rows * of.width)) {}

  double loss(const Doubles& at_x, const Doubles& at_gate, const Doubles& at_weight) const {
    double sum = 0;
    for (size_t i = 0; i < at_x.size(); ++i) {
      const auto width = static_cast<size_t>(shape.width);
      const double r = inverse_rms(at_x.data() + i / width * width, shape.width);
      sum += double{dy[i]} * at_x[i] * r * at_weight[i % width] * silu(at_gate[i]);
    }
    return sum;
  }

  struct Gradients {
    std::vector<float> x, gate, weight;
  };
  Gradients run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    const auto x_ = on.copy_of(x), gate_ = on.copy_of(gate), weight_ = on.copy_of(weight),
               dy_ = on.copy_of(dy);
    auto dx = on.nans(x.size()), d_gate = on.nans(x.size()), d_weight = on.zeros(weight.size());
    table.gated_rms_norm_backward({.x = x_.data(),
                                   .gate = gate_.data(),
                                   .weight = weight_.data(),
                                   .dy = dy_.data(),
                                   .dx = dx.data(),
                                   .d_gate = d_gate.data(),
                                   .d_weight = d_weight.data(),
                                   .shape = shape},
                                  on.context);
    return {dx.to_vector(), d_gate.to_vector(), d_weight.to_vector()};
  }
};

class GatedRmsNormBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(GatedRmsNormBackward);

TEST_P(GatedRmsNormBackward, EqualsFiniteDifferences) {
  RandomValues random(4);
  for (const RmsNormShape shape : kShapes) {
    const Gated operands(shape, random);
    const Doubles x = to_doubles(operands.x), gate = to_doubles(operands.gate),
                  weight = to_doubles(operands.weight);
    const Doubles dx =
        central_differences([&](const Doubles& at) { return operands.loss(at, gate, weight); }, x);
    const Doubles d_gate =
        central_differences([&](const Doubles& at) { return operands.loss(x, at, weight); }, gate);
    const Doubles d_weight =
        central_differences([&](const Doubles& at) { return operands.loss(x, gate, at); }, weight);
    for (const OpTable* each : {&ref_table(), &table()}) {
      const auto actual = operands.run(*each, 2);
      expect_gradient(actual.x, dx, shape.width, random.seed());
      expect_gradient(actual.gate, d_gate, shape.width, random.seed());
      expect_gradient(actual.weight, d_weight, shape.rows, random.seed());
    }
  }
}

TEST_P(GatedRmsNormBackward, EqualsDefinitionInPlaceToo) {
  RandomValues random(5);
  const Gated operands({400, 96, kEpsilon}, random);
  const auto expected = operands.run(ref_table(), 1);
  const auto actual = operands.run(table(), 2);
  expect_gradient(actual.x, to_doubles(expected.x), 96, random.seed());
  expect_gradient(actual.gate, to_doubles(expected.gate), 96, random.seed());
  for (const OpTable* each : {&ref_table(), &table()}) {
    const auto apart = operands.run(*each, 1);
    OnBackend on(*each);
    const auto x = on.copy_of(operands.x), weight = on.copy_of(operands.weight);
    auto dx = on.copy_of(operands.dy), d_gate = on.copy_of(operands.gate);
    each->gated_rms_norm_backward({.x = x.data(),
                                   .gate = d_gate.data(),
                                   .weight = weight.data(),
                                   .dy = dx.data(),
                                   .dx = dx.data(),
                                   .d_gate = d_gate.data(),
                                   .shape = operands.shape},
                                  on.context);
    EXPECT_EQ(dx.to_vector(), apart.x);
    EXPECT_EQ(d_gate.to_vector(), apart.gate);
  }
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [x, gate, weight] = operands.run(table(), threads);
    x.insert(x.end(), gate.begin(), gate.end());
    x.insert(x.end(), weight.begin(), weight.end());
    return x;
  });
}

// Heads are columns of wider rows, as those of queries and keys after the convolution.
struct L2 {
  int64_t tokens, heads, width, stride;
  float scale = 0.3f;
  std::vector<float> x, dy;

  L2(int64_t of_tokens, int64_t of_heads, int64_t of_width, RandomValues& random)
      : tokens(of_tokens),
        heads(of_heads),
        width(of_width),
        stride(of_heads * of_width + 3),
        x(random.normal(tokens * stride)),
        dy(random.normal(tokens * stride)) {}

  double loss(const Doubles& at) const {
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t head = 0; head < heads; ++head) {
        const auto first = static_cast<size_t>(t * stride + head * width);
        double squares = 0, along = 0;
        for (size_t i = first; i < first + static_cast<size_t>(width); ++i) {
          squares += at[i] * at[i];
          along += at[i] * double{dy[i]};
        }
        sum += double{scale} * along / std::sqrt(squares + 1e-6);
      }
    return sum;
  }

  // In place of dy; what lies between the rows stays.
  std::vector<float> run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    const auto x_ = on.copy_of(x);
    auto dx = on.copy_of(dy);
    table.l2_norm_backward({.x = x_.data(),
                            .dy = dx.data(),
                            .dx = dx.data(),
                            .tokens = tokens,
                            .heads = heads,
                            .width = width,
                            .x_stride = stride,
                            .dy_stride = stride,
                            .dx_stride = stride,
                            .scale = scale},
                           on.context);
    return dx.to_vector();
  }
};

class L2NormBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(L2NormBackward);

TEST_P(L2NormBackward, EqualsFiniteDifferencesAndTouchesItsColumnsAlone) {
  RandomValues random(6);
  for (const int64_t width : {3, 32, 67}) {
    const L2 operands(4, 3, width, random);
    Doubles dx = central_differences([&](const Doubles& at) { return operands.loss(at); },
                                     to_doubles(operands.x));
    for (int64_t t = 0; t < operands.tokens; ++t)
      for (int64_t i = operands.heads * width; i < operands.stride; ++i) {
        const auto between = static_cast<size_t>(t * operands.stride + i);
        dx[between] = double{operands.dy[between]};
      }
    for (const OpTable* each : {&ref_table(), &table()})
      expect_gradient(operands.run(*each, 2), dx, width, random.seed());
  }
}

TEST_P(L2NormBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(7);
  const L2 operands(300, 4, 32, random);
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return operands.run(table(), threads); });
}

}  // namespace
}  // namespace qround::ops
