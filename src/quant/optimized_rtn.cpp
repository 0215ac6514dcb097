#include "quant/optimized_rtn.h"

#include "quant/round_to_nearest.h"

namespace qround::quant {

void round_by_search(PackedBatch& batch, ops::ScaleGrid grid, Threads threads) {
  const auto search = [grid](const ops::DenseWeight& weight, const ops::RtnRows& rows) {
    return ops::cpu::search_rtn(weight, {.begin = rows.begin,
                                         .end = rows.end,
                                         .group_size = rows.group_size,
                                         .grid = grid,
                                         .codes = rows.codes,
                                         .scales = rows.scales});
  };
  round_rows(batch, search, threads);
}

RoundingSnapshot search_rounding(const RoundingState& state, const Importance& importance,
                                 ops::ScaleGrid grid, const ops::OpTable& ops) {
  RoundingSnapshot snapshot = state.empty_snapshot();
  state.for_row_blocks([&](size_t linear_idx, int64_t begin, int64_t end) {
    search_rows(state, linear_idx, begin, end, importance, grid, ops, snapshot);
  });
  return snapshot;
}

void search_rows(const RoundingState& state, size_t linear_idx, int64_t begin, int64_t end,
                 const Importance& importance, ops::ScaleGrid grid, const ops::OpTable& ops,
                 RoundingSnapshot& snapshot) {
  const ops::DenseWeight& weight = state.linears()[linear_idx].weight;
  std::vector<uint8_t> codes(static_cast<size_t>((end - begin) * weight.k));
  std::vector<uint16_t> scales(codes.size() / static_cast<size_t>(state.group_size()));
  ops.search_rtn(weight, {.begin = begin,
                          .end = end,
                          .group_size = state.group_size(),
                          .grid = grid,
                          .importance = importance.of(linear_idx),
                          .codes = codes.data(),
                          .scales = scales.data()});
  state.write(snapshot, linear_idx, begin, end, codes.data(), scales.data());
}

}  // namespace qround::quant
