#include "ops/squared_error.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Operands {
  int64_t rows, width;
  std::vector<float> y, target;

  // Row 0's target is zero: its weight is held.
  Operands(int64_t of_rows, int64_t of_width, RandomValues& random)
      : rows(of_rows),
        width(of_width),
        y(random.normal(rows * width)),
        target(random.normal(rows * width, 2)) {
    std::fill_n(target.begin(), width, 0.0f);
  }
};

struct Result {
  double loss;
  std::vector<float> dy;
};

Result run(const OpTable& table, const Operands& operands, RowWeight weight, int threads,
           bool with_gradient = true) {
  OnBackend on(table, threads);
  const auto y = on.copy_of(operands.y), target = on.copy_of(operands.target);
  auto dy = on.nans(operands.y.size());
  auto loss = on.copy_of(std::vector<double>{NAN});
  table.squared_error({.y = y.data(),
                       .target = target.data(),
                       .dy = with_gradient ? dy.data() : nullptr,
                       .loss = loss.data(),
                       .rows = operands.rows,
                       .width = operands.width,
                       .row_weight = weight,
                       .gradient_scale = 1000},
                      on.context);
  return {loss.to_vector()[0], dy.to_vector()};
}

class SquaredError : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SquaredError);

TEST_P(SquaredError, EqualsDefinitionOnOddShapes) {
  RandomValues random(1);
  for (const auto weight : {RowWeight::one, RowWeight::inverse_energy})
    for (const int64_t rows : {1, 2, 65, 300})
      for (const int64_t width : {1, 40, 257}) {
        const Operands operands(rows, width, random);
        const Result expected = run(ref_table(), operands, weight, 1);
        const Result actual = run(table(), operands, weight, 2);
        // A thread's f32 sum has few terms, all positive.
        EXPECT_NEAR(actual.loss, expected.loss, 4 * double{kEps} * expected.loss);
        // Every gradient is an error of its own times its row's factor.
        std::vector<float> tolerances;
        for (const float value : expected.dy) tolerances.push_back(8 * kEps * std::abs(value));
        for (float& tolerance : tolerances) tolerance += std::numeric_limits<float>::min();
        expect_close(actual.dy, expected.dy, tolerances, random.seed());
        EXPECT_EQ(run(table(), operands, weight, 1, false).loss, actual.loss);
      }
}

TEST_P(SquaredError, IsTheSameOnEveryRun) {
  RandomValues random(2);
  const Operands operands(201, 130, random);
  const Result first = run(table(), operands, RowWeight::inverse_energy, 1);
  for (const int threads : {1, 2, 3}) {
    const Result again = run(table(), operands, RowWeight::inverse_energy, threads);
    EXPECT_EQ(again.loss, first.loss);
    EXPECT_EQ(again.dy, first.dy);
  }
}

TEST(SquaredErrorDefinition, WeighsRowsByTheEnergyOfTheirTargets) {
  RandomValues random(3);
  Operands operands(2, 2, random);
  operands.y = {1, 1, 1, 1};
  operands.target = {0, 0, 3, 4};
  // Errors 1 and 1 over 1e-6; errors 2 and 3 over (9 + 16) / 2.
  const Result result = run(ref_table(), operands, RowWeight::inverse_energy, 1);
  EXPECT_NEAR(result.loss, (2 / 1e-6 + 13 / 12.5) / 4, 1e-6);
  EXPECT_NEAR(result.dy[2], 1000 * 2 * -2 / 12.5 / 4, 1e-3);
  EXPECT_NEAR(run(ref_table(), operands, RowWeight::one, 1).loss, 15.0 / 4, 1e-12);
}

}  // namespace
}  // namespace qround::ops
