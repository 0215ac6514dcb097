// The factor of error feedback against its definition, and the start of learned rounding.
#include "quant/feedback_factor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "ops/error_feedback.h"
#include "ops/full_range_int4.h"
#include "ops/sign_round_scale.h"
#include "quant/starting_point.h"

namespace qround::quant {
namespace {

constexpr int64_t kTokens = 400, kInputs = 96, kGroup = 32, kRows = 21;
constexpr float kUnit = 1.0f / 4096;

float uniform(uint64_t stream, uint64_t counter) {
  return static_cast<float>(2 * random_unit(7, stream, counter) - 1);
}

// Xᵀ X of tokens whose inputs have a common part, so that errors of one can be made up for by
// another.
std::vector<float> correlated_products() {
  std::vector<float> sums(kInputs * kInputs);
  for (uint64_t token = 0; token < uint64_t{kTokens}; ++token) {
    std::vector<float> x(kInputs);
    for (size_t i = 0; i < kInputs; ++i)
      x[i] = uniform(1, token) + 0.5f * uniform(2, token * kInputs + i);
    for (size_t i = 0; i < kInputs; ++i) {
      for (size_t j = 0; j < kInputs; ++j) sums[i * kInputs + j] += x[i] * x[j];
    }
  }
  return sums;
}

struct Rows {
  std::vector<float> weights, scales;
  std::vector<int16_t> v;

  explicit Rows(int64_t rows) : v(static_cast<size_t>(rows * kInputs)) {
    for (size_t i = 0; i < v.size(); ++i) weights.push_back(uniform(3, i));
    for (size_t i = 0; i < v.size() / kGroup; ++i) scales.push_back(i % 2 == 0 ? 0.13f : -0.14f);
  }
  void round(const FeedbackFactor& factor, int16_t most_units) {
    ops::Workspace workspace;
    ops::ref::round_with_feedback(
        {.weight = {DType::f32, weights.data(), static_cast<int64_t>(v.size()) / kInputs, kInputs},
         .factor = factor.columns().data(),
         .order = factor.order().data(),
         .scales = scales.data(),
         .group_size = kGroup,
         .v_unit = kUnit,
         .most_units = most_units,
         .v = v.data()},
        {.workspace = workspace});
  }
  double error(size_t at) const {
    const float scale = scales[at / kGroup];
    const int code = ops::full_range_code(weights[at], scale, static_cast<float>(v[at]) * kUnit);
    return double{weights[at]} - double{scale} * code;
  }
};

// e H eᵀ over all rows.
double output_error(const Rows& rows, const std::vector<float>& sums) {
  double total = 0;
  for (size_t first = 0; first < rows.v.size(); first += kInputs) {
    for (size_t i = 0; i < kInputs; ++i) {
      for (size_t j = 0; j < kInputs; ++j)
        total += rows.error(first + i) * double{sums[i * kInputs + j]} * rows.error(first + j);
    }
  }
  return total;
}

TEST(FeedbackFactor, MakesTheOutputErrMuchLessThanRoundingToNearest) {
  const std::vector<float> sums = correlated_products();
  const Rows nearest(kRows);
  Rows rows(kRows);
  rows.round(FeedbackFactor(sums, kInputs, kTokens, {1}), 4096);
  EXPECT_LT(output_error(rows, sums), 0.5 * output_error(nearest, sums));
}

// H of one common direction u beside independent noise has a U known in closed form: the last error
// is expected to be made up for by all before alike.
TEST(FeedbackFactor, GivesEachInputWhatTheErrorsBeforeItAskFor) {
  constexpr int64_t k = 3;
  constexpr int64_t many = 1'000'000'000;  // damping adds a hundredth of the mean diagonal
  const std::vector<float> sums = {5, 2, 1, 2, 4, 1, 1, 1, 3};
  const FeedbackFactor factor(sums, k, many, {1});
  EXPECT_EQ(factor.order()[0], 0);
  EXPECT_EQ(factor.order()[2], 2);
  const auto u = [&](size_t j, size_t i) { return factor.columns()[i * k + j]; };
  const double last = 3.04, middle = 4.04 - 1 / last, corner = 2 - 1 / last;
  EXPECT_NEAR(u(0, 2), 1 / last, 1e-6);
  EXPECT_NEAR(u(1, 2), 1 / last, 1e-6);
  EXPECT_NEAR(u(0, 1), corner / middle, 1e-6);
}

// Panels of many rows against one row at a time in double.
TEST(FeedbackFactor, FactorsAsOneInputAfterTheOtherDoes) {
  constexpr int64_t k = 200;  // three panels and a part of one
  std::vector<float> sums(k * k);
  for (uint64_t i = 0; i < k; ++i) {
    for (uint64_t j = 0; j <= i; ++j)
      sums[i * k + j] = sums[j * k + i] = uniform(4, i * k + j) + (i == j ? 20.0f : 0.0f);
  }
  constexpr int64_t tokens = 1000;
  const FeedbackFactor factor(sums, k, tokens, {2});
  double trace = 0;
  for (size_t i = 0; i < k; ++i) trace += double{sums[i * k + i]};
  std::vector<double> h;
  const auto input = [&](int64_t i) { return factor.order()[static_cast<size_t>(i)]; };
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j)
      h.push_back(double{sums[static_cast<size_t>(input(i) * k + input(j))]} +
                  (i == j ? damping(k, tokens) * trace / k : 0));
  }
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return h[static_cast<size_t>(i * k + j)];
  };
  for (int64_t i = k - 1; i >= 0; --i) {
    for (int64_t j = 0; j < i; ++j) {
      const double u = at(i, j) / at(i, i);
      ASSERT_NEAR(factor.columns()[static_cast<size_t>(i * k + j)], u, 1e-6) << i << ' ' << j;
      for (int64_t other = 0; other <= j; ++other) at(j, other) -= u * at(i, other);
    }
  }
}

TEST(FeedbackFactor, DoesNotDependOnThreads) {
  const std::vector<float> sums = correlated_products();
  const FeedbackFactor one(sums, kInputs, kTokens, {1}), three(sums, kInputs, kTokens, {3});
  EXPECT_TRUE(std::ranges::equal(one.columns(), three.columns()));
  EXPECT_TRUE(std::ranges::equal(one.order(), three.order()));
}

TEST(FeedbackFactor, KeepsOffsetsWithinTheirLimit) {
  const std::vector<float> sums = correlated_products();
  Rows rows(kRows);
  rows.round(FeedbackFactor(sums, kInputs, kTokens, {1}), 500);
  const auto [low, high] = std::minmax_element(rows.v.begin(), rows.v.end());
  EXPECT_EQ(*low, -500);
  EXPECT_EQ(*high, 500);
}

TEST(FeedbackFactor, InputsThatNeverOccurRoundToNearest) {
  Rows rows(2);
  rows.round(FeedbackFactor(std::vector<float>(kInputs * kInputs), kInputs, kTokens, {1}), 4096);
  EXPECT_EQ(rows.v, std::vector<int16_t>(rows.v.size()));
}

TEST(StartingPoint, FactorsGiveBackTheScaleOfEitherSign) {
  const ops::SignRoundRule rule{.max_factor = 2};
  for (const ops::GroupRange range :
       {ops::GroupRange{-1, 0.75f}, {-0.75f, 1}, {-1, 1}, {-1, 0}, {0, 1}, {-0.625f, 1}}) {
    for (const float scale : {0.125f, -0.125f, 0.09375f, -0.15625f, 0.0625f}) {
      const RangeFactors factors = factors_of_scale(range, scale, rule.max_factor);
      const float made =
          f16_to_f32(ops::sign_round_scale(range, factors.alpha, factors.beta, rule));
      const float side = scale > 0 ? -range.low : range.high;
      const bool sign_is_reachable = side * rule.max_factor >= 8 * std::abs(scale);
      EXPECT_EQ(made, sign_is_reachable ? scale : -scale) << range.low << " " << range.high;
    }
  }
}

}  // namespace
}  // namespace qround::quant
