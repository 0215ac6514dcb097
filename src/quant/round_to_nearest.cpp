#include "quant/round_to_nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/gptq_int4.h"
#include "ops/full_range_int4.h"
#include "ops/quantize_rtn.h"

namespace qround::quant {
namespace {

// Rows of one map that a worker takes at once: codes of 64 rows stay in its L2, and 64 columns of
// qweight are four whole cache lines, so workers never write to the same line.
constexpr int64_t kUnitRows = 64;

struct Unit {
  size_t linear_idx;
  RowRange rows;
  ops::RtnSums sums;
};

struct Scratch {
  std::vector<uint8_t> codes;    // [kUnitRows, K]
  std::vector<uint16_t> scales;  // [kUnitRows, K / G]
};

std::vector<Unit> split(const PackedBatch& batch) {
  std::vector<Unit> units;
  for (size_t i = 0; i < batch.linears().size(); ++i) {
    const int64_t out = batch.linears()[i].item->shape.out;
    for (int64_t row = 0; row < out; row += kUnitRows)
      units.push_back({i, {row, std::min(row + kUnitRows, out)}, {}});
  }
  return units;
}

ops::DenseWeight dense_weight(const ExportItem& item) {
  return {item.source.dtype, item.source.data, item.shape.out, item.shape.in};
}

void round_unit(const PackedLinear& linear, const RowRounding& rounding, Unit& unit,
                Scratch& scratch) {
  const Int4Shape& shape = linear.item->shape;
  scratch.codes.resize(static_cast<size_t>(kUnitRows * shape.in));
  scratch.scales.resize(static_cast<size_t>(kUnitRows * shape.n_groups()));
  unit.sums = rounding(dense_weight(*linear.item), {.begin = unit.rows.begin,
                                                    .end = unit.rows.end,
                                                    .group_size = shape.group_size,
                                                    .codes = scratch.codes.data(),
                                                    .scales = scratch.scales.data()});
  if (!unit.sums.representable) return;
  pack_codes(shape, unit.rows, scratch.codes.data(), linear.qweight);
  pack_scales(shape, unit.rows, scratch.scales.data(), linear.scales);
}

// The first weight of these rows that cannot be represented. Rare, so slowly.
Error unrepresentable(const ExportItem& item, RowRange rows) {
  const std::vector<float> values = to_f32(item.source.rows(rows.begin, rows.end));
  const auto bad = std::find_if(values.begin(), values.end(),
                                [](float w) { return !(std::fabs(w) < ops::kLargestWeight); });
  const auto index = std::distance(values.begin(), bad);
  const bool finite = bad != values.end() && std::isfinite(*bad);
  Error error(finite ? "a weight is too large for the scales of the format"
                     : "a weight is not finite");
  error.tensor(item.linear->tensor)
      .expected(finite ? "at most 524160 in magnitude" : "finite numbers")
      .hint("the checkpoint is damaged or was not trained to the end; keep the module with --keep");
  if (bad != values.end()) {
    error.actual(fmt::format("{} at [{}, {}]", *bad, rows.begin + index / item.shape.in,
                             index % item.shape.in));
  }
  return error;
}

}  // namespace

void round_to_nearest(PackedBatch& batch, Threads threads) {
  round_rows(batch, ops::cpu::quantize_rtn, threads);
}

void round_rows(PackedBatch& batch, const RowRounding& rounding, Threads threads) {
  std::vector<Unit> units = split(batch);
  std::vector<Scratch> scratch(static_cast<size_t>(std::max(threads.count, 1)));
  parallel_for(threads, units.size(), [&](size_t index, int worker) {
    Unit& unit = units[index];
    round_unit(batch.linears()[unit.linear_idx], rounding, unit,
               scratch[static_cast<size_t>(worker)]);
  });
  std::vector<ops::RtnSums> sums(batch.linears().size());
  for (const Unit& unit : units) {
    if (!unit.sums.representable)
      throw unrepresentable(*batch.linears()[unit.linear_idx].item, unit.rows);
    sums[unit.linear_idx].weights_squared += unit.sums.weights_squared;
    sums[unit.linear_idx].errors_squared += unit.sums.errors_squared;
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    const ops::RtnSums& sum = sums[i];
    batch.linears()[i].relative_error =
        sum.weights_squared > 0 ? std::sqrt(sum.errors_squared / sum.weights_squared) : 0;
  }
}

}  // namespace qround::quant
