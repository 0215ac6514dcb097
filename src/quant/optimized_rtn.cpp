#include "quant/optimized_rtn.h"

#include "quant/round_to_nearest.h"

namespace qround::quant {
namespace {

// A whole map from the device's copy of its weights.
void search_on_device(const RoundingState& state, size_t linear_idx, const Importance& importance,
                      ops::ScaleGrid grid, const ops::OpTable& ops, RoundingSnapshot& snapshot) {
  const ops::DenseWeight& weight = state.resident_weight(linear_idx);
  const float* of_inputs = importance.of(linear_idx);
  const ops::Buffer<float> resident_importance(
      *ops.memory, std::span(of_inputs, of_inputs == nullptr ? 0 : static_cast<size_t>(weight.k)));
  ops::Buffer<uint8_t> codes(*ops.memory, weight.n * weight.k);
  ops::Buffer<uint16_t> scales(*ops.memory, weight.n * weight.k / state.group_size());
  ops.search_rtn(weight, {.begin = 0,
                          .end = weight.n,
                          .group_size = state.group_size(),
                          .grid = grid,
                          .importance = resident_importance.data(),
                          .codes = codes.data(),
                          .scales = scales.data()});
  state.write(snapshot, linear_idx, 0, weight.n, codes.to_vector().data(),
              scales.to_vector().data());
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
  if (!ops.memory->is_host) {
    for (size_t linear_idx = 0; linear_idx < state.linears().size(); ++linear_idx)
      search_on_device(state, linear_idx, importance, grid, ops, snapshot);
    return snapshot;
  }
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
