// The mixture of experts as the engine runs it: all chosen experts' products in two launches, for
// one token as for a prompt, BF16 or int4 weights as they lie in the file (rows_product.h, whose
// rows keep their bits whatever tokens come with them).
//
// Pairs of token and slot are sorted by expert on the device; a block takes some rows of one expert
// and the same columns of gate and up by turns, so that silu(gate) * up is made in registers.
// Every pair's output gets a row of its own, and a token's are added in the order of its slots.
#include "ops/cuda/activation.h"
#include "ops/cuda/expert_tiles.h"
#include "ops/cuda/rows_product_inputs.h"

namespace qround::ops::cuda {
namespace {

// One of the three matrices of every expert; all have the same shape.
struct DenseMatrices {
  using Columns = DenseColumns;
  const uint16_t* data[kMaxExperts]{};
  DenseColumns shape;

  void set(size_t expert, const DenseWeight& weight) {
    shape = columns_of(weight);
    data[expert] = shape.data;
  }
  __device__ DenseColumns of(int expert) const {
    DenseColumns columns = shape;
    columns.data = data[expert];
    return columns;
  }
};

struct Int4Matrices {
  using Columns = Int4Columns;
  const uint32_t* qweight[kMaxExperts]{};
  const uint32_t* qzeros[kMaxExperts]{};
  const uint16_t* scales[kMaxExperts]{};
  Int4Columns shape;

  void set(size_t expert, const Int4Weight& weight) {
    shape = columns_of(weight);
    qweight[expert] = shape.qweight;
    qzeros[expert] = shape.qzeros;
    scales[expert] = shape.scales;
  }
  __device__ Int4Columns of(int expert) const {
    Int4Columns columns = shape;
    columns.qweight = qweight[expert];
    columns.qzeros = qzeros[expert];
    columns.scales = scales[expert];
    return columns;
  }
};

// Rows of x or of what is made of it, sorted by expert.
struct SortedRows {
  ExpertTiles tiles;
  const int32_t* choices = nullptr;  // [T * A]
  int n_chosen = 1;
};

template <class Matrices, class Product>
__global__ void __launch_bounds__(Product::kThreads)
    gate_up(SortedRows sorted, const uint16_t* x, Matrices gates, Matrices ups, uint16_t* hidden) {
  using Columns = typename Matrices::Columns;
  const ExpertTile tile = sorted.tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const Columns gate = gates.of(tile.expert), up = ups.of(tile.expert);
  const int64_t first_column = int64_t{blockIdx.y} * (Product::kOutputs / 2), width = gate.n;
  Product product;
  product.run(
      [&](int row) {
        const int32_t choice = sorted.choices[tile.first + min(row, tile.rows - 1)];
        return x + choice / sorted.n_chosen * gate.k;
      },
      [&](int column) {
        constexpr int kTurn = Product::kTurn;
        const int64_t idx = first_column + column / (2 * kTurn) * kTurn + column % kTurn;
        return Column<Columns>{column / kTurn % 2 == 0 ? gate : up, min(idx, width - 1)};
      },
      gate.k);
  product.for_each_twin([&](int row, int column, float of_gate, float of_up) {
    const int64_t at = first_column + column;
    if (row >= tile.rows || at >= width) return;
    const int64_t place =
        at / kChunk * kChunk + input_place<Columns>(static_cast<int>(at % kChunk));
    hidden[(tile.first + row) * width + place] = to_bf16(silu(of_gate) * of_up);
  });
}

// rows [T * A, H] by choice.
template <class Matrices, class Product>
__global__ void __launch_bounds__(Product::kThreads)
    down(SortedRows sorted, const uint16_t* hidden, Matrices downs, float* rows) {
  using Columns = typename Matrices::Columns;
  const ExpertTile tile = sorted.tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const Columns w = downs.of(tile.expert);
  const int64_t first_column = int64_t{blockIdx.y} * Product::kOutputs;
  Product product;
  product.run([&](int row) { return hidden + (tile.first + min(row, tile.rows - 1)) * w.k; },
              [&](int column) { return Column<Columns>{w, min(first_column + column, w.n - 1)}; },
              w.k);
  product.for_each([&](int row, int tile_column, float value) {
    const int64_t column = first_column + tile_column;
    if (row >= tile.rows || column >= w.n) return;
    rows[int64_t{sorted.choices[tile.first + row]} * w.n + column] = value;
  });
}

template <class Matrices>
struct ExpertTables {
  Matrices gate, up, down;
};

template <class Matrices, class AnyWeight>
ExpertTables<Matrices> tables_of(std::span<const SwigluWeights> experts) {
  ExpertTables<Matrices> tables;
  for (size_t expert = 0; expert < experts.size(); ++expert) {
    tables.gate.set(expert, std::get<AnyWeight>(experts[expert].gate));
    tables.up.set(expert, std::get<AnyWeight>(experts[expert].up));
    tables.down.set(expert, std::get<AnyWeight>(experts[expert].down));
  }
  return tables;
}

unsigned blocks_of(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

template <class Product, class TwinProduct, class Matrices>
void multiply(const ExpertsArgs& args, const ExpertGroups& groups,
              const ExpertTables<Matrices>& tables, const uint16_t* x, const OpContext& context) {
  const int64_t grouped = args.tokens * args.n_chosen, width = tables.gate.shape.n;
  Workspace::Scope scope(context.workspace);
  const SortedRows sorted{
      make_expert_tiles(groups.begin, static_cast<int64_t>(args.expert_weights.size()), grouped,
                        Product::kRows, scope, context),
      groups.choices, static_cast<int>(args.n_chosen)};
  const auto n_tiles = static_cast<unsigned>(sorted.tiles.count);
  uint16_t* hidden = scope.take<uint16_t>(static_cast<size_t>(grouped * width)).data();
  float* rows = scope.take<float>(static_cast<size_t>(grouped * args.hidden)).data();
  static_assert(TwinProduct::kRows == Product::kRows);
  launch(gate_up<Matrices, TwinProduct>, dim3(n_tiles, blocks_of(width, TwinProduct::kOutputs / 2)),
         TwinProduct::kThreads, TwinProduct::kSharedBytes, context.stream, sorted, x, tables.gate,
         tables.up, hidden);
  launch(down<Matrices, Product>, dim3(n_tiles, blocks_of(args.hidden, Product::kOutputs)),
         Product::kThreads, Product::kSharedBytes, context.stream, sorted, hidden, tables.down,
         rows);
  combine_choices({.rows = rows,
                   .weights = args.weights,
                   .out = args.out,
                   .tokens = args.tokens,
                   .n_chosen = args.n_chosen,
                   .columns = args.hidden,
                   .width = args.hidden},
                  context);
}

template <class Matrices>
void multiply_any(const ExpertsArgs& args, const ExpertGroups& groups,
                  const ExpertTables<Matrices>& tables, const uint16_t* x,
                  const OpContext& context) {
  using Columns = typename Matrices::Columns;
  const auto n_experts = static_cast<int64_t>(args.expert_weights.size());
  if (args.tokens * args.n_chosen <= 4 * n_experts) {
    multiply<FewRowsProduct<Columns>, FewRowsTwinProduct<Columns>>(args, groups, tables, x,
                                                                   context);
  } else {
    multiply<ManyRowsProduct<Columns>, ManyRowsTwinProduct<Columns>>(args, groups, tables, x,
                                                                     context);
  }
}

template <class AnyWeight>
bool all_fit(std::span<const SwigluWeights> experts) {
  const auto fits = [](const Weight& weight) {
    const auto* stored = std::get_if<AnyWeight>(&weight);
    return stored != nullptr && fits_rows_product(*stored);
  };
  bool all = experts.size() <= kMaxExperts;
  for (const SwigluWeights& expert : experts)
    all = all && fits(expert.gate) && fits(expert.up) && fits(expert.down);
  return all;
}

// Through the products of training.
void multiply_as_bf16(const ExpertsArgs& args, const ExpertGroups& groups, Workspace::Scope& scope,
                      const OpContext& context) {
  const int64_t width = outputs(args.expert_weights[0].gate);
  const auto count = static_cast<size_t>(args.tokens * args.n_chosen * width);
  grouped_experts({.x = args.x,
                   .groups = &groups,
                   .weights = args.weights,
                   .expert_weights = args.expert_weights,
                   .gate = scope.take<float>(count).data(),
                   .up = scope.take<float>(count).data(),
                   .out = args.out,
                   .tokens = args.tokens,
                   .hidden = args.hidden,
                   .n_chosen = args.n_chosen},
                  context);
}

}  // namespace

void experts(const ExpertsArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  const size_t n_experts = args.expert_weights.size();
  Workspace::Scope scope(context.workspace);
  const ExpertGroups groups{
      scope.take<int64_t>(n_experts + 1).data(),
      scope.take<int32_t>(static_cast<size_t>(args.tokens * args.n_chosen)).data()};
  group_by_expert({.experts = args.experts,
                   .groups = groups,
                   .tokens = args.tokens,
                   .n_experts = static_cast<int64_t>(n_experts),
                   .n_chosen = args.n_chosen},
                  context);
  if (all_fit<Int4Weight>(args.expert_weights)) {
    multiply_any(args, groups, tables_of<Int4Matrices, Int4Weight>(args.expert_weights),
                 round_for_int4(args.x, args.tokens, args.hidden, scope, context), context);
  } else if (!context.many_rows && all_fit<DenseWeight>(args.expert_weights)) {
    multiply_any(args, groups, tables_of<DenseMatrices, DenseWeight>(args.expert_weights),
                 round_for_dense(args.x, args.tokens, args.hidden, scope, context), context);
  } else {
    multiply_as_bf16(args, groups, scope, context);
  }
}

}  // namespace qround::ops::cuda
