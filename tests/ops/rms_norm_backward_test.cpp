#include <gtest/gtest.h>

#include <cmath>

#include "ops/rms_norm.h"
#include "tests/ops/finite_difference.h"
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
  Gradients run(ZeroCenteredRmsNormBackwardFunction* backward, int threads) const {
    Workspace workspace;
    Gradients d{std::vector<float>(x.size(), NAN), std::vector<float>(weight.size())};
    backward({.x = x.data(),
              .weight = weight.data(),
              .dy = dy.data(),
              .dx = d.x.data(),
              .d_weight = d.weight.data(),
              .shape = shape},
             {{threads}, workspace});
    return d;
  }
};

TEST(ZeroCenteredRmsNormBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const RmsNormShape shape : kShapes) {
    const ZeroCentered operands(shape, random);
    const Doubles x = to_doubles(operands.x), weight = to_doubles(operands.weight);
    const Doubles dx =
        central_differences([&](const Doubles& at) { return operands.loss(at, weight); }, x);
    const Doubles d_weight =
        central_differences([&](const Doubles& at) { return operands.loss(x, at); }, weight);
    for (auto* backward :
         {ref::zero_centered_rms_norm_backward, cpu::zero_centered_rms_norm_backward}) {
      const auto actual = operands.run(backward, 2);
      expect_gradient(actual.x, dx, shape.width, random.seed());
      expect_gradient(actual.weight, d_weight, shape.rows, random.seed());
    }
  }
}

TEST(ZeroCenteredRmsNormBackward, FastVersionEqualsDefinitionOnManyRows) {
  RandomValues random(2);
  const ZeroCentered operands({300, 200, kEpsilon}, random);
  const auto expected = operands.run(ref::zero_centered_rms_norm_backward, 1);
  const auto actual = operands.run(cpu::zero_centered_rms_norm_backward, 2);
  expect_gradient(actual.x, to_doubles(expected.x), 200, random.seed());
  expect_gradient(actual.weight, to_doubles(expected.weight), 300, random.seed());
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [x, weight] = operands.run(cpu::zero_centered_rms_norm_backward, threads);
    x.insert(x.end(), weight.begin(), weight.end());
    return x;
  });
}

TEST(ZeroCenteredRmsNormBackward, WritesOverItsInputGradientOrAddsToAnother) {
  RandomValues random(3);
  const ZeroCentered operands({7, 40, kEpsilon}, random);
  for (auto* backward :
       {ref::zero_centered_rms_norm_backward, cpu::zero_centered_rms_norm_backward}) {
    const auto apart = operands.run(backward, 1).x;
    Workspace workspace;
    std::vector<float> in_place = operands.dy, added(apart.size(), 2.0f);
    ZeroCenteredRmsNormBackwardArgs args{.x = operands.x.data(),
                                         .weight = operands.weight.data(),
                                         .dy = in_place.data(),
                                         .dx = in_place.data(),
                                         .shape = operands.shape};
    backward(args, {{1}, workspace});
    EXPECT_EQ(in_place, apart);
    args.dy = operands.dy.data();
    args.dx = added.data();
    args.add_to_dx = true;
    backward(args, {{1}, workspace});
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
  Gradients run(GatedRmsNormBackwardFunction* backward, int threads) const {
    Workspace workspace;
    Gradients d{std::vector<float>(x.size(), NAN), std::vector<float>(x.size(), NAN),
                std::vector<float>(weight.size())};
    backward({.x = x.data(),
              .gate = gate.data(),
              .weight = weight.data(),
              .dy = dy.data(),
              .dx = d.x.data(),
              .d_gate = d.gate.data(),
              .d_weight = d.weight.data(),
              .shape = shape},
             {{threads}, workspace});
    return d;
  }
};

TEST(GatedRmsNormBackward, EqualsFiniteDifferences) {
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
    for (auto* backward : {ref::gated_rms_norm_backward, cpu::gated_rms_norm_backward}) {
      const auto actual = operands.run(backward, 2);
      expect_gradient(actual.x, dx, shape.width, random.seed());
      expect_gradient(actual.gate, d_gate, shape.width, random.seed());
      expect_gradient(actual.weight, d_weight, shape.rows, random.seed());
    }
  }
}

TEST(GatedRmsNormBackward, FastVersionEqualsDefinitionInPlaceToo) {
  RandomValues random(5);
  const Gated operands({400, 96, kEpsilon}, random);
  const auto expected = operands.run(ref::gated_rms_norm_backward, 1);
  const auto actual = operands.run(cpu::gated_rms_norm_backward, 2);
  expect_gradient(actual.x, to_doubles(expected.x), 96, random.seed());
  expect_gradient(actual.gate, to_doubles(expected.gate), 96, random.seed());
  for (auto* backward : {ref::gated_rms_norm_backward, cpu::gated_rms_norm_backward}) {
    const auto apart = operands.run(backward, 1);
    Workspace workspace;
    std::vector<float> dx = operands.dy, d_gate = operands.gate;
    backward({.x = operands.x.data(),
              .gate = d_gate.data(),
              .weight = operands.weight.data(),
              .dy = dx.data(),
              .dx = dx.data(),
              .d_gate = d_gate.data(),
              .shape = operands.shape},
             {{2}, workspace});
    EXPECT_EQ(dx, apart.x);
    EXPECT_EQ(d_gate, apart.gate);
  }
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [x, gate, weight] = operands.run(cpu::gated_rms_norm_backward, threads);
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
  std::vector<float> run(L2NormBackwardFunction* backward, int threads) const {
    Workspace workspace;
    std::vector<float> dx = dy;
    backward({.x = x.data(),
              .dy = dx.data(),
              .dx = dx.data(),
              .tokens = tokens,
              .heads = heads,
              .width = width,
              .x_stride = stride,
              .dy_stride = stride,
              .dx_stride = stride,
              .scale = scale},
             {{threads}, workspace});
    return dx;
  }
};

TEST(L2NormBackward, EqualsFiniteDifferencesAndTouchesItsColumnsAlone) {
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
    for (auto* backward : {ref::l2_norm_backward, cpu::l2_norm_backward})
      expect_gradient(operands.run(backward, 2), dx, width, random.seed());
  }
}

TEST(L2NormBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(7);
  const L2 operands(300, 4, 32, random);
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return operands.run(cpu::l2_norm_backward, threads); });
}

}  // namespace
}  // namespace qround::ops
