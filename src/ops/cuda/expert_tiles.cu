#include <algorithm>

#include "base/error.h"
#include "ops/cuda/block_scan.h"
#include "ops/cuda/expert_tiles.h"
#include "ops/cuda/launch.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostFloats = int64_t{1} << 26;
constexpr int64_t kColumnStep = 128;

// One block. An expert's tiles start where those of the experts before it end.
__global__ void list_tiles(const int64_t* begin, int n_experts, int tile_rows, ExpertTile* tiles,
                           int64_t count) {
  __shared__ int total;
  const auto n_tiles = [&](int expert) {
    return static_cast<int>((begin[expert + 1] - begin[expert] + tile_rows - 1) / tile_rows);
  };
  for_each_sum_before<kThreads>(n_experts, n_tiles, [&](int expert, int tile) {
    if (expert == n_experts) {
      total = tile;
      return;
    }
    for (int64_t row = begin[expert]; row < begin[expert + 1]; row += tile_rows)
      tiles[tile++] = {expert, static_cast<int32_t>(row),
                       static_cast<int32_t>(min(int64_t{tile_rows}, begin[expert + 1] - row))};
  });
  for (int64_t i = total + threadIdx.x; i < count; i += kThreads) tiles[i] = {};
}

__global__ void combine(CombineArgs args) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= args.tokens * args.columns) return;
  const int64_t token = index / args.columns, column = index % args.columns;
  float* out = args.out + token * args.width + args.first_column + column;
  float sum = args.add_to_out ? *out : 0.0f;
  for (int64_t slot = 0; slot < args.n_chosen; ++slot) {
    const int64_t choice = token * args.n_chosen + slot;
    const float weight = args.weights != nullptr ? args.weights[choice] : 1.0f;
    sum += weight * args.rows[choice * args.columns + column];
  }
  *out = sum;
}

}  // namespace

ExpertTiles make_expert_tiles(const int64_t* begin, int64_t n_experts, int64_t grouped_rows,
                              int tile_rows, Workspace::Scope& scope, const OpContext& context) {
  const int64_t count = grouped_rows / tile_rows + std::min(n_experts, grouped_rows);
  ExpertTile* tiles = scope.take<ExpertTile>(static_cast<size_t>(count)).data();
  launch(list_tiles, 1, kThreads, 0, context.stream, begin, static_cast<int>(n_experts), tile_rows,
         tiles, count);
  return {tiles, count};
}

ExpertMatrices expert_matrices(std::span<const SwigluWeights> experts,
                               Weight SwigluWeights::* which, Workspace::Scope& scope,
                               const OpContext& context) {
  if (experts.size() > kMaxExperts)
    throw Error("the cuda backend takes at most " + std::to_string(kMaxExperts) + " experts")
        .actual(std::to_string(experts.size()));
  ExpertMatrices matrices;
  for (size_t expert = 0; expert < experts.size(); ++expert) {
    const Bf16Matrix matrix = bf16_weight(experts[expert].*which, scope, context);
    matrices.data[expert] = matrix.data;
    matrices.aligned = matrices.aligned && matrix.aligned();
    matrices.rows = matrix.rows;
    matrices.columns = matrix.columns;
    matrices.stride = matrix.stride;
  }
  return matrices;
}

void combine_choices(const CombineArgs& args, const OpContext& context) {
  const int64_t threads = args.tokens * args.columns;
  launch(combine, static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads, 0,
         context.stream, args);
}

int64_t columns_at_once(int64_t grouped_rows, int64_t width) {
  const int64_t most = kMostFloats / std::max<int64_t>(1, grouped_rows) / kColumnStep * kColumnStep;
  return std::min(width, std::max(kColumnStep, most));
}

}  // namespace qround::ops::cuda
