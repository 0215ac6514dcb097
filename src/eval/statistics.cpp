#include "eval/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace qround::eval {
namespace {

constexpr uint64_t kSeed = 20;  // of the draws; any number does

double mean(const WindowSum& total) {
  return total.rows > 0 ? total.sum / static_cast<double>(total.rows) : 0;
}

void add(const WindowSum& part, WindowSum& total) {
  total.sum += part.sum;
  total.rows += part.rows;
}

}  // namespace

Estimate window_mean(std::span<const WindowSum> windows) {
  WindowSum total;
  for (const WindowSum& window : windows) add(window, total);
  const double value = mean(total);
  if (windows.size() < 2) return {value, value, value};
  std::vector<double> draws(kBootstrapDraws);
  for (size_t draw = 0; draw < draws.size(); ++draw) {
    WindowSum sample;
    for (size_t i = 0; i < windows.size(); ++i) {
      const double place = random_unit(kSeed, draw, i) * static_cast<double>(windows.size());
      add(windows[static_cast<size_t>(place)], sample);
    }
    draws[draw] = mean(sample);
  }
  std::sort(draws.begin(), draws.end());
  return {value, quantile(draws, 0.025), quantile(draws, 0.975)};
}

Json to_json(const Estimate& estimate) {
  return Json::object({{"value", estimate.value}, {"low", estimate.low}, {"high", estimate.high}});
}

Estimate exponential(const Estimate& estimate) {
  return {std::exp(estimate.value), std::exp(estimate.low), std::exp(estimate.high)};
}

double quantile(std::span<const double> sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

}  // namespace qround::eval
