// Activations::bf16 with every kind of vector instructions: both factors are rounded alike, so
// results differ from the definition's by the order of their sums alone.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <mutex>

#include "base/half.h"
#include "ops/linear.h"
#include "ops/mixture_of_experts.h"
#include "ops/weight_gradient.h"
#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_weight.h"

namespace qround::ops {
namespace {

// Sizes beside pairs, vectors, register tiles, strips of 512 x 64 and shares.
struct Shape {
  int64_t rows, n, k;
};
constexpr Shape kShapes[] = {{1, 1, 1},     {2, 3, 5},      {7, 64, 128},   {13, 130, 1027},
                             {65, 257, 70}, {300, 33, 130}, {1030, 70, 64}, {9, 1029, 40}};

OpContext bf16_context(Workspace& workspace, int threads, bool many_rows = false) {
  return {.threads = {threads},
          .workspace = workspace,
          .activations = Activations::bf16,
          .many_rows = many_rows};
}

// Of products of [rows, depth] with [depth, columns] of normal values.
float tolerance(int64_t depth) {
  return sum_tolerance(depth, 4 * std::sqrt(static_cast<float>(depth)));
}

std::vector<float> linear(const OpTable& table, const Weight& weight, const std::vector<float>& x,
                          int threads, bool many_rows = false) {
  Workspace workspace;
  const int64_t rows = static_cast<int64_t>(x.size()) / inputs(weight);
  std::vector<float> y(static_cast<size_t>(rows * outputs(weight)), NAN);
  table.linear(weight, x.data(), rows, y.data(), bf16_context(workspace, threads, many_rows));
  return y;
}

std::vector<float> input_gradient(const OpTable& table, const Weight& weight,
                                  const std::vector<float>& dy, std::vector<float> dx, bool add,
                                  int threads) {
  Workspace workspace;
  table.linear_backward_input(weight,
                              {.dy = dy.data(),
                               .dx = dx.data(),
                               .rows = static_cast<int64_t>(dy.size()) / outputs(weight),
                               .add_to_dx = add},
                              bf16_context(workspace, threads));
  return dx;
}

std::vector<float> weight_gradient(const OpTable& table, const Shape& shape,
                                   const std::vector<float>& x, const std::vector<float>& dy,
                                   int threads) {
  Workspace workspace;
  std::vector<float> dw(static_cast<size_t>(shape.n * shape.k), NAN);
  std::mutex mutex;
  const WeightGradientConsumer consume = [&](const WeightGradientTile& tile) {
    const std::lock_guard lock(mutex);
    std::copy_n(tile.values, (tile.row_end - tile.row_begin) * tile.k,
                dw.begin() + tile.row_begin * tile.k);
  };
  const WeightGradientJob job{.x = x.data(),
                              .dy = dy.data(),
                              .rows = shape.rows,
                              .n = shape.n,
                              .k = shape.k,
                              .x_stride = shape.k,
                              .dy_stride = shape.n};
  table.weight_gradient_tiles({&job, 1}, {.consume = &consume}, bf16_context(workspace, threads));
  return dw;
}

class Bf16Products : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_simd_target(GetParam()); }
  void TearDown() override { force_simd_target(""); }
  const OpTable& cpu_ = select_backend("cpu");
};

TEST_P(Bf16Products, LinearEqualsDefinition) {
  RandomValues random(1);
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.n << " x " << s.k);
    const RandomWeight weight(WeightFormat::bf16, s.n, s.k, random);
    const auto x = random.normal(s.rows * s.k);
    const auto expected = linear(ref_table(), weight.weight(), x, 1);
    for (const bool many_rows : {false, true})
      expect_close(linear(cpu_, weight.weight(), x, 2, many_rows), expected, tolerance(s.k),
                   random.seed());
  }
}

TEST_P(Bf16Products, InputGradientEqualsDefinition) {
  RandomValues random(2);
  for (const Shape& s : kShapes)
    for (const bool add : {false, true}) {
      SCOPED_TRACE(testing::Message() << s.rows << " x " << s.n << " x " << s.k);
      const RandomWeight weight(WeightFormat::bf16, s.n, s.k, random);
      const auto dy = random.normal(s.rows * s.n), before = random.normal(s.rows * s.k);
      expect_close(input_gradient(cpu_, weight.weight(), dy, before, add, 2),
                   input_gradient(ref_table(), weight.weight(), dy, before, add, 1), tolerance(s.n),
                   random.seed());
    }
}

TEST_P(Bf16Products, WeightGradientEqualsDefinition) {
  RandomValues random(3);
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.n << " x " << s.k);
    const auto x = random.normal(s.rows * s.k), dy = random.normal(s.rows * s.n);
    expect_close(weight_gradient(cpu_, s, x, dy, 2), weight_gradient(ref_table(), s, x, dy, 1),
                 tolerance(s.rows), random.seed());
  }
}

TEST_P(Bf16Products, DoNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  const Shape shape{520, 300, 130};
  const RandomWeight weight(WeightFormat::bf16, shape.n, shape.k, random);
  const auto x = random.normal(shape.rows * shape.k), dy = random.normal(shape.rows * shape.n);
  for (const bool many_rows : {false, true})
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return linear(cpu_, weight.weight(), x, threads, many_rows); });
  expect_same_bits_for_all_thread_counts([&](int threads) {
    return input_gradient(cpu_, weight.weight(), dy, std::vector<float>(x.size()), false, threads);
  });
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return weight_gradient(cpu_, shape, x, dy, threads); });
}

TEST_P(Bf16Products, ARowsBitsDoNotDependOnItsNeighbours) {
  RandomValues random(6);
  const RandomWeight weight(WeightFormat::bf16, 70, 550, random);
  const auto x = random.normal(20 * 550);
  for (const bool many_rows : {false, true}) {
    const auto together = linear(cpu_, weight.weight(), x, 2, many_rows);
    for (const int64_t rows : {1, 2, 3, 7})
      for (const int64_t first : {0, 1, 13}) {
        const std::vector<float> part(x.begin() + first * 550, x.begin() + (first + rows) * 550);
        const auto alone = linear(cpu_, weight.weight(), part, 1, many_rows);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + first * 70));
      }
  }
}

TEST_P(Bf16Products, ExpertsEqualDefinition) {
  RandomValues random(7);
  const int64_t tokens = 9, hidden = 70, width = 33, chosen = 2;
  std::vector<RandomWeight> maps;
  std::vector<SwigluWeights> experts;
  for (int expert = 0; expert < 4; ++expert) {
    maps.emplace_back(WeightFormat::bf16, width, hidden, random);
    maps.emplace_back(WeightFormat::bf16, width, hidden, random);
    maps.emplace_back(WeightFormat::bf16, hidden, width, random);
    const size_t first = maps.size() - 3;
    experts.push_back({maps[first].weight(), maps[first + 1].weight(), maps[first + 2].weight()});
  }
  std::vector<int32_t> choices;
  for (int32_t t = 0; t < tokens; ++t) choices.insert(choices.end(), {t % 4, (t + 1 + t % 3) % 4});
  const auto x = random.normal(tokens * hidden), weights = random.normal(tokens * chosen);
  const auto run = [&](const OpTable& table) {
    Workspace workspace;
    std::vector<float> out(x.size(), NAN);
    table.experts({.x = x.data(),
                   .experts = choices.data(),
                   .weights = weights.data(),
                   .expert_weights = experts,
                   .out = out.data(),
                   .tokens = tokens,
                   .hidden = hidden,
                   .n_chosen = chosen},
                  bf16_context(workspace, 2));
    return out;
  };
  const auto expected = run(ref_table());
  // An inner value next to a tie may be rounded to either side.
  expect_close(run(cpu_), expected, 0x1p-8f * norm(expected), random.seed());
}

TEST_P(Bf16Products, RoundInputsToNearestEven) {
  // 1 + 2^-8 lies halfway between two BF16 numbers; a NaN stays one, whatever its payload.
  const float halfway = 1 + 0x1p-8f, above = std::nextafter(halfway, 2.0f);
  const std::vector<float> x{halfway, above, -halfway, std::bit_cast<float>(0x7FFFFFFFu)};
  const std::vector<uint16_t> one{f32_to_bf16(1)};
  const Weight weight = DenseWeight{.dtype = DType::bf16, .data = one.data(), .n = 1, .k = 1};
  const auto y = linear(cpu_, weight, x, 1);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1 + 0x1p-7f);
  EXPECT_EQ(y[2], -1);
  EXPECT_TRUE(std::isnan(y[3]));
}

TEST_P(Bf16Products, OtherWeightsTakeInputsAsTheyAre) {
  RandomValues random(5);
  const RandomWeight weight(WeightFormat::f32, 20, 50, random);
  const auto x = random.normal(3 * 50);
  Workspace workspace;
  std::vector<float> expected(3 * 20);
  cpu_.linear(weight.weight(), x.data(), 3, expected.data(),
              {.threads = {1}, .workspace = workspace});
  EXPECT_EQ(linear(cpu_, weight.weight(), x, 1), expected);
}

INSTANTIATE_TEST_SUITE_P(, Bf16Products, testing::ValuesIn(simd_targets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace qround::ops
