// Figures with their uncertainty. Neighbouring tokens are not independent, windows of a text nearly
// are: intervals come from a bootstrap that draws whole windows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"

namespace qround::eval {

// A figure and its 95 % interval.
struct Estimate {
  double value = 0, low = 0, high = 0;

  friend bool operator==(const Estimate&, const Estimate&) = default;
};

// One window's share of a mean: a sum over rows and their number.
struct WindowSum {
  double sum = 0;
  int64_t rows = 0;
};

inline constexpr int kBootstrapDraws = 2000;

// The mean over all rows of all windows. The interval is the 2.5th to the 97.5th percentile of the
// means of kBootstrapDraws samples, each of as many windows, drawn with replacement; the draws are
// always the same. One window: no interval, low = high = value. No rows: all zero.
Estimate window_mean(std::span<const WindowSum> windows);

Json to_json(const Estimate& estimate);

// exp of all three.
Estimate exponential(const Estimate& estimate);

// The q-quantile, 0 <= q <= 1, interpolated linearly between neighbours; `sorted` is not empty.
double quantile(std::span<const double> sorted, double q);

}  // namespace qround::eval
