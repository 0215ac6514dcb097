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

std::vector<Unit> split(const PackedBatch& batch, int64_t most_rows) {
  std::vector<Unit> units;
  for (size_t i = 0; i < batch.linears().size(); ++i) {
    const int64_t out = batch.linears()[i].item->shape.out;
    const int64_t rows = std::min(out, most_rows);
    for (int64_t row = 0; row < out; row += rows)
      units.push_back({i, {row, std::min(row + rows, out)}, {}});
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

// A whole map: its weights go to the device, its codes and scales come back and are packed here.
void round_on_device(const PackedLinear& linear, const RowRounding& rounding,
                     const ops::Memory& memory, Threads threads, Unit& unit) {
  const Int4Shape& shape = linear.item->shape;
  ops::DenseWeight weight = dense_weight(*linear.item);
  const ops::Buffer<std::byte> weights(
      memory, {static_cast<const std::byte*>(weight.data), linear.item->source.bytes()});
  weight.data = weights.data();
  ops::Buffer<uint8_t> codes(memory, shape.out * shape.in);
  ops::Buffer<uint16_t> scales(memory, shape.out * shape.n_groups());
  unit.sums = rounding(weight, {.begin = 0,
                                .end = shape.out,
                                .group_size = shape.group_size,
                                .codes = codes.data(),
                                .scales = scales.data()});
  if (!unit.sums.representable) return;
  const std::vector<uint8_t> of_map = codes.to_vector();
  const std::vector<uint16_t> scales_of_map = scales.to_vector();
  const auto blocks = static_cast<size_t>((shape.out + kUnitRows - 1) / kUnitRows);
  parallel_for(threads, blocks, [&](size_t block, int) {
    const int64_t begin = static_cast<int64_t>(block) * kUnitRows;
    const RowRange rows{begin, std::min(begin + kUnitRows, shape.out)};
    pack_codes(shape, rows, of_map.data() + begin * shape.in, linear.qweight);
    pack_scales(shape, rows, scales_of_map.data() + begin * shape.n_groups(), linear.scales);
  });
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

void round_to_nearest(PackedBatch& batch, const ops::OpTable& ops, Threads threads) {
  round_rows(batch, ops.quantize_rtn, *ops.memory, threads);
}

void round_rows(PackedBatch& batch, const RowRounding& rounding, const ops::Memory& memory,
                Threads threads) {
  std::vector<Unit> units;
  if (memory.is_host) {
    units = split(batch, kUnitRows);
    std::vector<Scratch> scratch(static_cast<size_t>(std::max(threads.count, 1)));
    parallel_for(threads, units.size(), [&](size_t index, int worker) {
      Unit& unit = units[index];
      round_unit(batch.linears()[unit.linear_idx], rounding, unit,
                 scratch[static_cast<size_t>(worker)]);
    });
  } else {
    units = split(batch, INT64_MAX);
    for (Unit& unit : units)
      round_on_device(batch.linears()[unit.linear_idx], rounding, memory, threads, unit);
  }
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
