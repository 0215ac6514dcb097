#include "quant/rare_experts.h"

#include <algorithm>

#include "base/half.h"
#include "ops/full_range_int4.h"
#include "quant/optimized_rtn.h"

namespace qround::quant {
namespace {

// Rows of one map taken together.
constexpr int64_t kRows = 64;

RoundedRows rows_of(const RoundingState& state, size_t linear_idx, int64_t begin, int64_t end,
                    const RoundingSnapshot& rounding) {
  RoundedRows rows;
  rows.codes.resize(static_cast<size_t>((end - begin) * state.linears()[linear_idx].weight.k));
  rows.scales.resize(rows.codes.size() / static_cast<size_t>(state.group_size()));
  state.read(rounding, linear_idx, begin, end, rows.codes.data(), rows.scales.data());
  return rows;
}

// Whether searched scales were better; if so, `rounding` has them.
bool search_map(const RoundingState& state, size_t linear_idx, const Importance& importance,
                ops::ScaleGrid grid, const ops::OpTable& ops, RoundingSnapshot& rounding) {
  const int64_t n = state.linears()[linear_idx].weight.n;
  const double tuned_error = weighted_error(state, linear_idx, importance, ops, rounding);
  const RoundedRows tuned = rows_of(state, linear_idx, 0, n, rounding);
  const RoundedRows searched = search_rows(state, linear_idx, 0, n, importance, grid, ops);
  state.write(rounding, linear_idx, 0, n, searched.codes.data(), searched.scales.data());
  if (weighted_error(state, linear_idx, importance, ops, rounding) < tuned_error) return true;
  state.write(rounding, linear_idx, 0, n, tuned.codes.data(), tuned.scales.data());
  return false;
}

}  // namespace

std::vector<int64_t> rare_experts(const RoundingState& state, const Importance& importance,
                                  int64_t few_tokens) {
  std::vector<int64_t> experts;
  for (size_t i = 0; i < state.linears().size(); ++i) {
    const int64_t expert = state.linears()[i].id.expert;
    if (expert >= 0 && importance.tokens(i) < few_tokens) experts.push_back(expert);
  }
  std::sort(experts.begin(), experts.end());
  experts.erase(std::unique(experts.begin(), experts.end()), experts.end());
  return experts;
}

int64_t round_rare_experts(const RoundingState& state, const std::vector<int64_t>& experts,
                           const Importance& importance, ops::ScaleGrid grid,
                           const ops::OpTable& ops, Threads threads, RoundingSnapshot& rounding) {
  std::vector<size_t> maps;
  for (size_t i = 0; i < state.linears().size(); ++i) {
    if (std::binary_search(experts.begin(), experts.end(), state.linears()[i].id.expert))
      maps.push_back(i);
  }
  std::vector<uint8_t> changed(maps.size());
  parallel_for(threads, maps.size(), [&](size_t i, int) {
    changed[i] = search_map(state, maps[i], importance, grid, ops, rounding) ? 1 : 0;
  });
  return std::count(changed.begin(), changed.end(), 1);
}

double weighted_error(const RoundingState& state, size_t linear_idx, const Importance& importance,
                      const ops::OpTable& ops, const RoundingSnapshot& rounding) {
  const ops::DenseWeight& weight = state.linears()[linear_idx].weight;
  const float* d = importance.of(linear_idx);
  const int64_t group = state.group_size();
  std::vector<float> w(static_cast<size_t>(kRows * weight.k));
  double sum = 0;
  for (int64_t begin = 0; begin < weight.n; begin += kRows) {
    const int64_t end = std::min(weight.n, begin + kRows);
    const RoundedRows rows = rows_of(state, linear_idx, begin, end, rounding);
    ops.dequantize_rows(weight, begin, end, w.data());
    for (int64_t i = 0; i < (end - begin) * weight.k; ++i) {
      const auto at = static_cast<size_t>(i);
      const float scale = f16_to_f32(rows.scales[at / static_cast<size_t>(group)]);
      const double error =
          double{w[at]} - double{scale} * double(rows.codes[at] + ops::kLowestCode);
      sum += (d == nullptr ? 1.0 : double{d[i % weight.k]}) * error * error;
    }
  }
  return sum;
}

}  // namespace qround::quant
