#include "quant/optimized_rtn.h"

#include "quant/round_to_nearest.h"

namespace qround::quant {
namespace {

RoundedRows search_on_host(const RoundingState& state, size_t linear_idx, ops::SearchRtnRows rows,
                           const ops::OpTable& ops) {
  const ops::DenseWeight& weight = state.linears()[linear_idx].weight;
  RoundedRows result;
  result.codes.resize(static_cast<size_t>((rows.end - rows.begin) * weight.k));
  result.scales.resize(result.codes.size() / static_cast<size_t>(rows.group_size));
  rows.codes = result.codes.data();
  rows.scales = result.scales.data();
  ops.search_rtn(weight, rows);
  return result;
}

RoundedRows search_on_device(const RoundingState& state, size_t linear_idx, ops::SearchRtnRows rows,
                             const ops::OpTable& ops) {
  const ops::DenseWeight& weight = state.resident_weight(linear_idx);
  const auto known = static_cast<size_t>(rows.importance == nullptr ? 0 : weight.k);
  const ops::Buffer<float> importance(*ops.memory, std::span(rows.importance, known));
  ops::Buffer<uint8_t> codes(*ops.memory, (rows.end - rows.begin) * weight.k);
  ops::Buffer<uint16_t> scales(*ops.memory, codes.size() / rows.group_size);
  rows.importance = importance.data();
  rows.codes = codes.data();
  rows.scales = scales.data();
  ops.search_rtn(weight, rows);
  return {codes.to_vector(), scales.to_vector()};
}

}  // namespace

void round_by_search(PackedBatch& batch, ops::ScaleGrid grid, const ops::OpTable& ops,
                     Threads threads) {
  const auto search = [grid, &ops](const ops::DenseWeight& weight, const ops::RtnRows& rows) {
    return ops.search_rtn(weight, {.begin = rows.begin,
                                   .end = rows.end,
                                   .group_size = rows.group_size,
                                   .grid = grid,
                                   .codes = rows.codes,
                                   .scales = rows.scales});
  };
  round_rows(batch, search, *ops.memory, threads);
}

RoundingSnapshot search_rounding(const RoundingState& state, const Importance& importance,
                                 ops::ScaleGrid grid, const ops::OpTable& ops) {
  RoundingSnapshot snapshot = state.empty_snapshot();
  state.for_parts([&](size_t linear_idx, int64_t begin, int64_t end) {
    const RoundedRows rows = search_rows(state, linear_idx, begin, end, importance, grid, ops);
    state.write(snapshot, linear_idx, begin, end, rows.codes.data(), rows.scales.data());
  });
  return snapshot;
}

RoundedRows search_rows(const RoundingState& state, size_t linear_idx, int64_t begin, int64_t end,
                        const Importance& importance, ops::ScaleGrid grid,
                        const ops::OpTable& ops) {
  const auto search = ops.memory->is_host ? search_on_host : search_on_device;
  return search(state, linear_idx,
                {.begin = begin,
                 .end = end,
                 .group_size = state.group_size(),
                 .grid = grid,
                 .importance = importance.of(linear_idx)},
                ops);
}

}  // namespace qround::quant
