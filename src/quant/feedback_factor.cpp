#include "quant/feedback_factor.h"

#include <algorithm>
#include <numeric>

#include "ops/cpu/matrix_product.h"

namespace qround::quant {
namespace {

// Rows of H factored together, and rows or columns of it that a thread takes at a time.
constexpr int64_t kPanelRows = 64, kTaskRows = 64, kTaskColumns = 256;

std::vector<int32_t> by_descending_diagonal(const std::vector<float>& sums, int64_t k) {
  std::vector<int32_t> order(static_cast<size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  const auto diagonal = [&](int64_t i) { return sums[static_cast<size_t>(i * k + i)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return diagonal(a) > diagonal(b); });
  return order;
}

// Rows [begin, end) of H, less what later rows explain.
struct Panel {
  float* h = nullptr;  // [K, K]
  int64_t k = 0, begin = 0, end = 0;
  float least_pivot = 0;     // in exact arithmetic none is below
  float* factors = nullptr;  // [begin, kPanelRows]: row j is -U_j of the panel's columns

  float* row(int64_t i) const { return h + i * k; }
  float pivot(int64_t i) const { return std::max(row(i)[i], least_pivot); }
};

// Columns [from, to) of the panel's rows: row j < i loses what row i explains of it.
void eliminate_columns(const Panel& panel, int64_t from, int64_t to) {
  for (int64_t i = panel.end - 1; i >= panel.begin; --i) {
    const float* later = panel.row(i);
    for (int64_t j = panel.begin; j < i; ++j) {
      const float u = later[j] / panel.pivot(i);
      float* row = panel.row(j);
      for (int64_t column = from; column < to; ++column) row[column] -= u * later[column];
    }
  }
}

// The panel's rows, and its factors.
void factor_panel(const Panel& panel, Threads threads) {
  eliminate_columns(panel, panel.begin, panel.end);
  const auto blocks = static_cast<size_t>((panel.begin + kTaskColumns - 1) / kTaskColumns);
  parallel_for(threads, blocks, [&](size_t block, int) {
    const int64_t from = static_cast<int64_t>(block) * kTaskColumns;
    const int64_t to = std::min(panel.begin, from + kTaskColumns);
    eliminate_columns(panel, from, to);
    for (int64_t j = from; j < to; ++j) {
      for (int64_t i = panel.begin; i < panel.end; ++i)
        panel.factors[j * kPanelRows + i - panel.begin] = -panel.row(i)[j] / panel.pivot(i);
    }
  });
}

// Takes what the panel explains from the rows before it, and leaves columns of U in its own.
void subtract_panel(const Panel& panel, Threads threads) {
  const auto blocks = static_cast<size_t>((panel.begin + kTaskRows - 1) / kTaskRows);
  parallel_for(threads, blocks, [&](size_t block, int) {
    const int64_t from = static_cast<int64_t>(block) * kTaskRows;
    const int64_t to = std::min(panel.begin, from + kTaskRows);
    ops::cpu::multiply({.x = panel.factors + from * kPanelRows,
                        .b = panel.row(panel.begin),
                        .y = panel.row(from),
                        .rows = to - from,
                        .depth = panel.end - panel.begin,
                        .width = to,
                        .x_stride = kPanelRows,
                        .b_stride = panel.k,
                        .y_stride = panel.k,
                        .accumulate = true});
  });
  for (int64_t i = panel.begin; i < panel.end; ++i) {
    const float pivot = panel.pivot(i);
    for (int64_t j = 0; j < i; ++j) panel.row(i)[j] /= pivot;
  }
}

}  // namespace

// H = U D Uᵀ from the last input to the first, in panels of rows: of the symmetric H only the lower
// triangle is used, in which column i of U ends up as row i. What a panel explains is taken from
// all rows before it in one product.
FeedbackFactor::FeedbackFactor(const std::vector<float>& sums, int64_t k, int64_t tokens,
                               Threads threads)
    : k_(k), order_(by_descending_diagonal(sums, k)), columns_(sums.size()) {
  double trace = 0;
  for (int64_t i = 0; i < k; ++i) trace += double{sums[static_cast<size_t>(i * k + i)]};
  const auto added =
      static_cast<float>(trace > 0 ? damping(k, tokens) * trace / static_cast<double>(k) : 1);
  for (int64_t i = 0; i < k; ++i) {
    float* row = columns_.data() + i * k;
    const float* from = sums.data() + order_[static_cast<size_t>(i)] * k;
    for (int64_t j = 0; j <= i; ++j) row[j] = from[order_[static_cast<size_t>(j)]];
    row[i] += added;
  }
  std::vector<float> factors(static_cast<size_t>(k * kPanelRows));
  for (int64_t end = k; end > 0; end -= std::min(end, kPanelRows)) {
    const Panel panel{.h = columns_.data(),
                      .k = k,
                      .begin = end - std::min(end, kPanelRows),
                      .end = end,
                      .least_pivot = added,
                      .factors = factors.data()};
    factor_panel(panel, threads);
    subtract_panel(panel, threads);
  }
}

double damping(int64_t k, int64_t tokens) {
  const auto seen = static_cast<double>(std::max<int64_t>(tokens, 1));
  return std::max(0.01, 0.5 * static_cast<double>(k) / seen);
}

uint64_t FeedbackFactor::bytes(int64_t k) {
  return static_cast<uint64_t>(k * (k + kPanelRows)) * sizeof(float);
}

}  // namespace qround::quant
