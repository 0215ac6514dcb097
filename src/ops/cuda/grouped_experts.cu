// The mixture's experts in training, forward: two products for all experts at once.
//
// gate and up: a block takes up to 128 rows of one expert and 64 columns of each of the two
// matrices, whose rows lie by turns of 8 in its tile of W, so that silu(gate) * up is made where
// both are at hand and x, gathered while it is copied into shared memory, is read once for both.
// down: every (token, slot) pair gets a row of its own; a last kernel adds a token's rows in the
// order of its slots. Columns go through it some at a time, which bounds the memory of the rows.
#include "ops/cuda/activation.h"
#include "ops/cuda/dense_product.h"
#include "ops/cuda/expert_tiles.h"

namespace qround::ops::cuda {
namespace {

using Forward = Product<Layout::k_contiguous, Layout::k_contiguous>;
constexpr int kTwinColumns = kTile / 2;

// Rows of a tile that come from two matrices, 8 of each by turns, both from row `first` on.
struct TwinRows {
  const uint16_t *even = nullptr, *odd = nullptr;
  int64_t stride = 0, first = 0, count = 0;

  __device__ const uint16_t* at(int64_t row) const {
    const int64_t n = first + row / 16 * 8 + row % 8;
    return n < count ? (row / 8 % 2 == 0 ? even : odd) + n * stride : nullptr;
  }
};

struct GateUpOut {
  float *gate = nullptr, *up = nullptr;  // [T * A, I]
  uint16_t* hidden = nullptr;            // [T * A, I] bf16
};

__global__ void __launch_bounds__(Forward::kThreads, 2)
    gate_up(ExpertTiles tiles, Bf16Matrix x, const int32_t* choices, int n_chosen,
            ExpertMatrices gate, ExpertMatrices up, GateUpOut out) {
  const ExpertTile tile = tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const int64_t first_column = int64_t{blockIdx.y} * kTwinColumns, width = gate.rows;
  Forward product;
  const Forward::LoaderA<GatheredRows> a(
      {x.data, choices + tile.first, x.stride, tile.rows, n_chosen}, 0, x.columns, x.aligned());
  const Forward::LoaderB<TwinRows> b(
      {gate.data[tile.expert], up.data[tile.expert], gate.stride, first_column, width}, 0,
      x.columns, gate.aligned && up.aligned);
  product.run(a, b, x.columns, dynamic_shared<uint16_t>());
  product.for_each_twin([&](int row, int column, float2 of_gate, float2 of_up) {
    if (row >= tile.rows) return;
    const auto put = [&](int64_t at, float g, float u) {
      if (at >= width) return;
      const int64_t index = (tile.first + row) * width + at;
      out.gate[index] = g;
      out.up[index] = u;
      out.hidden[index] = to_bf16(silu(g) * u);
    };
    put(first_column + column, of_gate.x, of_up.x);
    put(first_column + column + 1, of_gate.y, of_up.y);
  });
}

// Columns [first_column, first_column + columns) of every pair's output.
struct DownOut {
  float* rows = nullptr;  // [T * A, columns] by choice
  int64_t first_column = 0, columns = 0;
};

__global__ void __launch_bounds__(Forward::kThreads, 2)
    down(ExpertTiles tiles, Bf16Matrix hidden, const int32_t* choices, ExpertMatrices weights,
         DownOut out) {
  const ExpertTile tile = tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const int64_t column_of_tile = int64_t{blockIdx.y} * kTile;
  Forward product;
  const Forward::LoaderA<PlainRows> a(
      {hidden.data + tile.first * hidden.stride, hidden.stride, tile.rows}, 0, hidden.columns,
      hidden.aligned());
  const Forward::LoaderB<PlainRows> b(
      {weights.data[tile.expert], weights.stride, out.first_column + out.columns},
      out.first_column + column_of_tile, hidden.columns, weights.aligned);
  product.run(a, b, hidden.columns, dynamic_shared<uint16_t>());
  product.for_each_pair([&](int row, int column, float value, float next) {
    if (row >= tile.rows) return;
    const int64_t at = column_of_tile + column;
    float* to = out.rows + int64_t{choices[tile.first + row]} * out.columns + at;
    if (at < out.columns) to[0] = value;
    if (at + 1 < out.columns) to[1] = next;
  });
}

}  // namespace

void grouped_experts(const GroupedExpertsArgs& args, const OpContext& context) {
  const int64_t grouped = args.tokens * args.n_chosen, width = outputs(args.expert_weights[0].gate);
  Workspace::Scope scope(context.workspace);
  const ExpertTiles tiles =
      make_expert_tiles(args.groups->begin, static_cast<int64_t>(args.expert_weights.size()),
                        grouped, kTile, scope, context);
  const Bf16Matrix x =
      round_to_bf16({args.x, args.tokens, args.hidden, args.hidden}, scope, context);
  uint16_t* hidden = scope.take<uint16_t>(static_cast<size_t>(grouped * width)).data();
  const auto n_tiles = static_cast<unsigned>(tiles.count);
  const auto twin_tiles = static_cast<unsigned>((width + kTwinColumns - 1) / kTwinColumns);
  launch(gate_up, dim3(n_tiles, twin_tiles), Forward::kThreads, Forward::kSharedBytes,
         context.stream, tiles, x, args.groups->choices, static_cast<int>(args.n_chosen),
         expert_matrices(args.expert_weights, &SwigluWeights::gate, scope, context),
         expert_matrices(args.expert_weights, &SwigluWeights::up, scope, context),
         GateUpOut{args.gate, args.up, hidden});
  const ExpertMatrices weights =
      expert_matrices(args.expert_weights, &SwigluWeights::down, scope, context);
  const int64_t at_once = columns_at_once(grouped, args.hidden);
  float* rows = scope.take<float>(static_cast<size_t>(grouped * at_once)).data();
  for (int64_t first = 0; first < args.hidden; first += at_once) {
    const int64_t columns = std::min(at_once, args.hidden - first);
    launch(down, dim3(n_tiles, tiles_of(columns)), Forward::kThreads, Forward::kSharedBytes,
           context.stream, tiles, Bf16Matrix{hidden, grouped, width, width}, args.groups->choices,
           weights, DownOut{rows, first, columns});
    combine_choices({.rows = rows,
                     .weights = args.weights,
                     .out = args.out,
                     .tokens = args.tokens,
                     .n_chosen = args.n_chosen,
                     .columns = columns,
                     .first_column = first,
                     .width = args.hidden},
                    context);
  }
}

}  // namespace qround::ops::cuda
