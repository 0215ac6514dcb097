#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace qround::eval {
namespace {

TEST(Statistics, MeanWeighsWindowsByTheirRows) {
  const std::vector<WindowSum> windows = {{10, 10}, {0, 30}};
  EXPECT_DOUBLE_EQ(window_mean(windows).value, 0.25);
}

TEST(Statistics, OneWindowHasNoInterval) {
  const Estimate estimate = window_mean(std::vector<WindowSum>{{3, 2}});
  EXPECT_EQ(estimate, (Estimate{1.5, 1.5, 1.5}));
}

TEST(Statistics, IntervalOfEqualWindowsIsAPoint) {
  const Estimate estimate = window_mean(std::vector<WindowSum>(20, {2, 4}));
  EXPECT_EQ(estimate, (Estimate{0.5, 0.5, 0.5}));
}

// The mean of 100 independent uniform numbers has the standard error 0.0289.
TEST(Statistics, IntervalHasTheWidthOfTheNormalApproximation) {
  int covered = 0;
  for (uint64_t trial = 0; trial < 50; ++trial) {
    std::vector<WindowSum> windows;
    for (uint64_t i = 0; i < 100; ++i) windows.push_back({random_unit(trial, 9, i), 1});
    const Estimate estimate = window_mean(windows);
    EXPECT_NEAR(estimate.high - estimate.low, 2 * 1.96 * 0.0289, 0.025);
    covered += estimate.low <= 0.5 && 0.5 <= estimate.high;
  }
  EXPECT_GE(covered, 42);  // 47.5 expected
}

TEST(Statistics, QuantilesInterpolate) {
  const std::vector<double> values = {0, 1, 2, 4};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 0);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 1.5);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
}

}  // namespace
}  // namespace qround::eval
