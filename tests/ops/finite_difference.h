// Gradients by central differences of a loss written in double precision, for the tests of backward
// operations: the loss is the inner product of an operation's results with fixed random values,
// which are then the gradient of the results.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include "tests/ops/expect_close.h"

namespace qround::ops {

using Doubles = std::vector<double>;

inline Doubles to_doubles(std::span<const float> values) { return {values.begin(), values.end()}; }

inline double inner_product(const Doubles& x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * double{y[i]};
  return sum;
}

// The step balances the third derivative's h² with the rounding of the loss, 1e-16 / h: what comes
// out is right to about 1e-9 of the loss, far below what f32 resolves.
inline Doubles central_differences(const std::function<double(const Doubles&)>& loss, Doubles at) {
  constexpr double kStep = 1e-5;
  Doubles gradient;
  for (double& value : at) {
    const double here = value;
    value = here + kStep;
    const double above = loss(at);
    value = here - kStep;
    const double below = loss(at);
    value = here;
    gradient.push_back((above - below) / (2 * kStep));
  }
  return gradient;
}

inline double largest_magnitude(const Doubles& values) {
  double largest = 0;
  for (double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// A gradient in f32 against one in double. `terms` is the longest sum behind an element; the
// partial sums of these tests' operands stay within 8 times the largest gradient, or `magnitude`
// where that is larger. `rounding` is the relative error of factors that are rounded before they
// are multiplied (on_backend.h), once for each product behind one another.
inline void expect_gradient(std::span<const float> actual, const Doubles& expected, int64_t terms,
                            uint64_t seed, double magnitude = 0, float rounding = 0) {
  magnitude = std::max(magnitude, largest_magnitude(expected));
  const std::vector<float> rounded(expected.begin(), expected.end());
  const float bound = 8 * static_cast<float>(magnitude);
  expect_close(actual, rounded, sum_tolerance(terms, bound) + rounding * bound, seed);
}

}  // namespace qround::ops
