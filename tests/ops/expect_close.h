// Comparisons of results with their definition. A tolerance is absolute and comes from the norms of
// the operands: rounding errors grow with what is summed, not with the sum.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace qround::ops {

inline constexpr float kEps = std::numeric_limits<float>::epsilon();

inline float norm(std::span<const float> values) {
  double sum = 0;
  for (float value : values) sum += static_cast<double>(value) * value;
  return static_cast<float>(std::sqrt(sum));
}

// What rounding makes of a sum of `terms` products whose partial sums stay below `magnitude`: the
// errors of the single steps add up like a random walk; four standard deviations of both sides.
inline float sum_tolerance(int64_t terms, float magnitude) {
  return 4 * kEps * std::sqrt(static_cast<float>(terms)) * magnitude;
}

// tolerance: one for every element, or a single one.
inline void expect_close(std::span<const float> actual, std::span<const float> expected,
                         std::span<const float> tolerance, uint64_t seed) {
  ASSERT_EQ(actual.size(), expected.size());
  double worst = 0;
  size_t worst_index = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double allowed = tolerance[tolerance.size() == 1 ? 0 : i];
    double excess = std::abs(static_cast<double>(actual[i]) - expected[i]) / allowed;
    if (std::isnan(excess)) excess = actual[i] == expected[i] ? 0 : INFINITY;
    if (excess > worst) {
      worst = excess;
      worst_index = i;
    }
  }
  EXPECT_LE(worst, 1) << "worst at index " << worst_index << " of " << actual.size()
                      << ": expected " << expected[worst_index] << ", actual "
                      << actual[worst_index] << ", tolerance "
                      << tolerance[tolerance.size() == 1 ? 0 : worst_index] << ", seed " << seed;
}

inline void expect_close(std::span<const float> actual, std::span<const float> expected,
                         float tolerance, uint64_t seed) {
  expect_close(actual, expected, std::span<const float>(&tolerance, 1), seed);
}

// Runs compute(Threads) -> vector<float> with one, two and three threads and expects equal bits.
template <class Compute>
void expect_same_bits_for_all_thread_counts(const Compute& compute) {
  const std::vector<float> one = compute(1);
  for (int threads : {2, 3}) {
    const std::vector<float> many = compute(threads);
    ASSERT_EQ(many.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i)
      ASSERT_TRUE(many[i] == one[i] || (std::isnan(many[i]) && std::isnan(one[i])))
          << threads << " threads, index " << i << ": " << many[i] << " instead of " << one[i];
  }
}

}  // namespace qround::ops
