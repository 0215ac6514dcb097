#include "quant/error_feedback.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "ops/full_range_int4.h"
#include "ops/lane_sums.h"

namespace qround::quant {
namespace {

// Rows of H that a thread takes at a time.
constexpr int64_t kFactorRows = 64;
// Rows of W that share a pass over U.
constexpr int64_t kLanes = ops::kSumLanes;
using Lanes = std::array<float, kLanes>;

std::vector<int64_t> by_descending_diagonal(const std::vector<float>& sums, int64_t k) {
  std::vector<int64_t> order(static_cast<size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  const auto diagonal = [&](int64_t i) { return sums[static_cast<size_t>(i * k + i)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return diagonal(a) > diagonal(b); });
  return order;
}

// Up to kLanes rows, the errors [K] of which stand side by side.
void round_lanes(const FeedbackFactor& factor, const FeedbackRows& rows, int64_t first,
                 int64_t count, std::vector<Lanes>& errors) {
  for (int64_t i = 0; i < factor.k(); ++i) {
    const float* u = factor.column(i);
    Lanes expected{};
    ops::cpu::add_lane_products(u, errors.front().data(), i, expected.data());
    Lanes& error = errors[static_cast<size_t>(i)];
    error = {};
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t at = (first + lane) * factor.k() + factor.input(i);
      const float w = rows.weights[at], scale = rows.scales[at / rows.group_size];
      const auto most = static_cast<float>(rows.most_units);
      const float units = std::clamp(
          std::nearbyintf(expected[static_cast<size_t>(lane)] / scale / rows.v_unit), -most, most);
      rows.v[at] = static_cast<int16_t>(units);
      const int code = ops::full_range_code(w, scale, units * rows.v_unit);
      error[static_cast<size_t>(lane)] = w - scale * static_cast<float>(code);
    }
  }
}

}  // namespace

// From the last input to the first: U's column i is what is left of H's, divided by D_i; what it
// explains is taken from the rows before. Of the symmetric H only the lower triangle is used, in
// which column i lies as a row.
FeedbackFactor::FeedbackFactor(const std::vector<float>& sums, int64_t k, int64_t tokens,
                               Threads threads)
    : k_(k), order_(by_descending_diagonal(sums, k)), columns_(sums.size()) {
  std::vector<double> h(sums.size());
  double trace = 0;
  for (int64_t i = 0; i < k; ++i) trace += double{sums[static_cast<size_t>(i * k + i)]};
  const double added = trace > 0 ? damping(k, tokens) * trace / static_cast<double>(k) : 1;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j <= i; ++j)
      h[static_cast<size_t>(i * k + j)] =
          double{sums[static_cast<size_t>(input(i) * k + input(j))]};
    h[static_cast<size_t>(i * k + i)] += added;
  }
  for (int64_t i = k - 1; i >= 0; --i) {
    double* row = h.data() + i * k;
    const double pivot = std::max(row[i], added);  // in exact arithmetic never below
    const auto blocks = static_cast<size_t>((i + kFactorRows - 1) / kFactorRows);
    parallel_for(threads, blocks, [&](size_t block, int) {
      const int64_t begin = static_cast<int64_t>(block) * kFactorRows;
      for (int64_t j = begin; j < std::min(i, begin + kFactorRows); ++j) {
        const double u = row[j] / pivot;
        for (int64_t other = 0; other <= j; ++other)
          h[static_cast<size_t>(j * k + other)] -= u * row[other];
        columns_[static_cast<size_t>(i * k + j)] = static_cast<float>(u);
      }
    });
  }
}

double damping(int64_t k, int64_t tokens) {
  const auto seen = static_cast<double>(std::max<int64_t>(tokens, 1));
  return std::max(0.01, 0.5 * static_cast<double>(k) / seen);
}

uint64_t FeedbackFactor::bytes(int64_t k) {
  return static_cast<uint64_t>(k * k) * (sizeof(double) + sizeof(float));
}

void round_with_feedback(const FeedbackFactor& factor, const FeedbackRows& rows) {
  std::vector<Lanes> errors(static_cast<size_t>(factor.k()));
  for (int64_t first = 0; first < rows.rows; first += kLanes)
    round_lanes(factor, rows, first, std::min(kLanes, rows.rows - first), errors);
}

}  // namespace qround::quant
