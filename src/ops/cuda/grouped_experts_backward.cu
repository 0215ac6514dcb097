// The mixture's experts in training, backward, all experts in every launch:
//
//   d_hidden = W_downᵀ d_out          rows gathered while they are copied into shared memory
//   d_gate, d_up, weight * hidden     one warp to a (token, slot) pair, which also sums d_weight
//   dx += W_gateᵀ d_gate + W_upᵀ d_up one product over both depths; a token's rows added in order
//   dW of the three matrices          dyᵀ x over an expert's rows, straight into sign steps
//                                     (sign_round_epilogue.h) or down to the host
#include "ops/cuda/activation.h"
#include "ops/cuda/expert_tiles.h"
#include "ops/cuda/reduce.h"
#include "ops/cuda/sign_round_epilogue.h"

namespace qround::ops::cuda {
namespace {

using BackwardInput = Product<Layout::k_contiguous, Layout::k_major>;
using Gradient = Product<Layout::k_major, Layout::k_major>;
constexpr int kGradientSharedBytes =
    Gradient::kSharedBytes > kGradientBytes ? Gradient::kSharedBytes : kGradientBytes;
constexpr int kPairThreads = 256;

// d_hidden [T * A, I] of gathered rows.
__global__ void __launch_bounds__(BackwardInput::kThreads, 2)
    hidden_gradient(ExpertTiles tiles, Bf16Matrix d_out, const int32_t* choices, int n_chosen,
                    ExpertMatrices down, float* d_hidden) {
  const ExpertTile tile = tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const int64_t first_column = int64_t{blockIdx.y} * kTile, width = down.columns;
  BackwardInput product;
  const BackwardInput::LoaderA<GatheredRows> a(
      {d_out.data, choices + tile.first, d_out.stride, tile.rows, n_chosen}, 0, d_out.columns,
      d_out.aligned());
  const BackwardInput::LoaderB<PlainRows> b({down.data[tile.expert], down.stride, down.rows},
                                            first_column, width, down.aligned);
  product.run(a, b, d_out.columns, dynamic_shared<uint16_t>());
  product.for_each_pair([&](int row, int column, float value, float next) {
    if (row >= tile.rows) return;
    float* to = d_hidden + (tile.first + row) * width + first_column + column;
    if (first_column + column < width) to[0] = value;
    if (first_column + column + 1 < width) to[1] = next;
  });
}

struct PairArgs {
  const float *gate, *up, *d_hidden;  // [T * A, I]
  const float* weights;               // [T, A]
  float* d_weights;                   // [T, A]
  const int32_t* choices;             // [T * A]
  uint16_t *d_gate, *d_up, *hidden;   // [T * A, stride] bf16; hidden times its weight
  int64_t rows, width, stride;
};

__global__ void pair_backward(PairArgs args) {
  const int64_t row = int64_t{blockIdx.x} * (kPairThreads / kWarpLanes) + warp_idx();
  if (row >= args.rows) return;
  const int32_t choice = args.choices[row];
  const float weight = args.weights[choice];
  float d_weight = 0;
  for (int64_t i = lane_idx(); i < args.stride; i += kWarpLanes) {
    const bool exists = i < args.width;
    const int64_t at = row * args.width + i;
    const float g = exists ? args.gate[at] : 0, u = exists ? args.up[at] : 0;
    const float dh = exists ? args.d_hidden[at] : 0;
    const float activated = silu(g), hidden = activated * u;
    d_weight += dh * hidden;
    const int64_t to = row * args.stride + i;
    args.d_gate[to] = to_bf16(weight * dh * u * silu_slope(g));
    args.d_up[to] = to_bf16(weight * dh * activated);
    args.hidden[to] = to_bf16(weight * hidden);
  }
  d_weight = warp_sum(d_weight);
  if (lane_idx() == 0) args.d_weights[choice] = d_weight;
}

// Columns [first_column, first_column + columns) of every pair's dx.
struct InputGradientOut {
  float* rows = nullptr;  // [T * A, columns] by choice
  int64_t first_column = 0, columns = 0;
};

__global__ void __launch_bounds__(BackwardInput::kThreads, 2)
    input_gradient(ExpertTiles tiles, Bf16Matrix d_gate, Bf16Matrix d_up, const int32_t* choices,
                   ExpertMatrices gate, ExpertMatrices up, InputGradientOut out) {
  const ExpertTile tile = tiles.tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const int64_t column_of_tile = int64_t{blockIdx.y} * kTile;
  BackwardInput product;
  product.clear();
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {
    const Bf16Matrix& dy = part == 0 ? d_gate : d_up;
    const uint16_t* w = part == 0 ? gate.data[tile.expert] : up.data[tile.expert];
    const BackwardInput::LoaderA<PlainRows> a(
        {dy.data + tile.first * dy.stride, dy.stride, tile.rows}, 0, dy.columns, dy.aligned());
    const BackwardInput::LoaderB<PlainRows> b({w, gate.stride, gate.rows},
                                              out.first_column + column_of_tile, gate.columns,
                                              gate.aligned && up.aligned);
    product.add(a, b, dy.columns, dynamic_shared<uint16_t>());
  }
  product.for_each_pair([&](int row, int column, float value, float next) {
    if (row >= tile.rows) return;
    const int64_t at = column_of_tile + column;
    float* to = out.rows + int64_t{choices[tile.first + row]} * out.columns + at;
    if (at < out.columns) to[0] = value;
    if (at + 1 < out.columns) to[1] = next;
  });
}

// dW [N, K] of one of the three matrices of every expert: dy and x by grouped rows, one of them
// gathered from tokens' rows.
struct GradientFactors {
  Bf16Matrix dy, x;
  bool dy_is_gathered = false;
  const int64_t* begin = nullptr;    // [E + 1]
  const int32_t* choices = nullptr;  // [T * A]
  int n_chosen = 1;
};

// A factor's rows of one expert, gathered or not.
struct ExpertRows {
  const uint16_t* data = nullptr;
  const int32_t* choices = nullptr;  // null: rows as they lie
  int64_t stride = 0;
  int n_chosen = 1;

  __device__ const uint16_t* at(int64_t row) const {
    return data + (choices == nullptr ? row : choices[row] / n_chosen) * stride;
  }
};

__device__ void gradient_tile(const GradientFactors& f, int expert, Gradient& product) {
  const int64_t first = f.begin[expert], rows = f.begin[expert + 1] - first;
  const auto rows_of = [&](const Bf16Matrix& matrix, bool gathered) {
    return gathered ? ExpertRows{matrix.data, f.choices + first, matrix.stride, f.n_chosen}
                    : ExpertRows{matrix.data + first * matrix.stride, nullptr, matrix.stride, 1};
  };
  const Gradient::LoaderA<ExpertRows> a(rows_of(f.dy, f.dy_is_gathered),
                                        int64_t{blockIdx.y} * kTile, f.dy.columns, f.dy.aligned());
  const Gradient::LoaderB<ExpertRows> b(rows_of(f.x, !f.dy_is_gathered),
                                        int64_t{blockIdx.x} * kTile, f.x.columns, f.x.aligned());
  product.run(a, b, rows, dynamic_shared<uint16_t>());
}

// What differs among the experts of a SignRoundTask.
struct StepPointers {
  const void* weight[kMaxExperts]{};
  int16_t* v[kMaxExperts]{};  // null: not wanted
  float* alpha[kMaxExperts]{};
  float* beta[kMaxExperts]{};
  void* values[kMaxExperts]{};
};

__global__ void __launch_bounds__(Gradient::kThreads, 2)
    step_experts(GradientFactors f, SignRoundTask task, StepPointers pointers) {
  const int expert = static_cast<int>(blockIdx.z);
  if (f.begin[expert] == f.begin[expert + 1] || pointers.v[expert] == nullptr) return;
  Gradient product;
  gradient_tile(f, expert, product);
  const float* gradient = gradient_in_shared(product, dynamic_shared<float>());
  task.target.weight.data = pointers.weight[expert];
  task.target.rows.v = pointers.v[expert];
  task.target.rows.alpha = pointers.alpha[expert];
  task.target.rows.beta = pointers.beta[expert];
  task.target.result.values = pointers.values[expert];
  step_tile<Gradient::kThreads>(task, gradient, int64_t{blockIdx.y} * kTile,
                                int64_t{blockIdx.x} * kTile);
}

__global__ void __launch_bounds__(Gradient::kThreads, 2)
    write_gradient(GradientFactors f, int expert, float* values) {
  Gradient product;
  gradient_tile(f, expert, product);
  product.for_each_pair([&](int tile_row, int tile_column, float value, float next) {
    const int64_t row = int64_t{blockIdx.y} * kTile + tile_row;
    const int64_t column = int64_t{blockIdx.x} * kTile + tile_column;
    if (row >= f.dy.columns) return;
    if (column < f.x.columns) values[row * f.x.columns + column] = value;
    if (column + 1 < f.x.columns) values[row * f.x.columns + column + 1] = next;
  });
}

void step_matrices(const GroupedExpertsBackwardArgs& args, ExpertMatrix which,
                   const GradientFactors& f, const OpContext& context) {
  const SignRoundUpdate& update = *args.sink->update;
  SignRoundTask task{{}, update.rule, update.sizes};
  StepPointers pointers;
  const auto n_experts = static_cast<int64_t>(args.expert_weights.size());
  for (int64_t expert = 0; expert < n_experts; ++expert) {
    const SignRoundTarget& target =
        update.targets[static_cast<size_t>(expert_matrix(expert, which))];
    if (target.rows.v == nullptr) continue;
    task.target = target;
    pointers.weight[expert] = target.weight.data;
    pointers.v[expert] = target.rows.v;
    pointers.alpha[expert] = target.rows.alpha;
    pointers.beta[expert] = target.rows.beta;
    pointers.values[expert] = target.result.values;
  }
  launch(step_experts,
         dim3(tiles_of(f.x.columns), tiles_of(f.dy.columns), static_cast<unsigned>(n_experts)),
         Gradient::kThreads, kGradientSharedBytes, context.stream, f, task, pointers);
}

void hand_over_matrices(const GroupedExpertsBackwardArgs& args, ExpertMatrix which,
                        const GradientFactors& f, const OpContext& context) {
  const auto n_experts = static_cast<int64_t>(args.expert_weights.size());
  const Memory& memory = context.workspace.memory();
  std::vector<int64_t> begin(static_cast<size_t>(n_experts + 1));
  memory.download(begin.data(), f.begin, begin.size() * sizeof(int64_t), context.stream);
  const int64_t n = f.dy.columns, k = f.x.columns;
  Workspace::Scope scope(context.workspace);
  float* values = scope.take<float>(static_cast<size_t>(n * k)).data();
  std::vector<float> on_host(static_cast<size_t>(n * k));
  for (int64_t expert = 0; expert < n_experts; ++expert) {
    const int64_t matrix = expert_matrix(expert, which);
    if (args.wanted != nullptr && args.wanted[matrix] == 0) continue;
    if (begin[static_cast<size_t>(expert)] == begin[static_cast<size_t>(expert + 1)]) continue;
    launch(write_gradient, dim3(tiles_of(k), tiles_of(n)), Gradient::kThreads,
           Gradient::kSharedBytes, context.stream, f, static_cast<int>(expert), values);
    memory.download(on_host.data(), values, on_host.size() * sizeof(float), context.stream);
    (*args.sink->consume)({.matrix = matrix,
                           .row_begin = 0,
                           .row_end = n,
                           .k = k,
                           .values = on_host.data(),
                           .worker = 0});
  }
}

// Activations as the products read them.
struct BackwardRows {
  Bf16Matrix x, d_out;              // [T, H]
  Bf16Matrix d_gate, d_up, hidden;  // [T * A, I]
};

void weight_gradients(const GroupedExpertsBackwardArgs& args, const BackwardRows& r,
                      const OpContext& context) {
  const auto make = [&](ExpertMatrix which, const Bf16Matrix& dy, const Bf16Matrix& x) {
    const GradientFactors f{.dy = dy,
                            .x = x,
                            .dy_is_gathered = which == ExpertMatrix::down,
                            .begin = args.groups->begin,
                            .choices = args.groups->choices,
                            .n_chosen = static_cast<int>(args.n_chosen)};
    if (args.sink->update != nullptr) {
      step_matrices(args, which, f, context);
    } else {
      hand_over_matrices(args, which, f, context);
    }
  };
  make(ExpertMatrix::gate, r.d_gate, r.x);
  make(ExpertMatrix::up, r.d_up, r.x);
  make(ExpertMatrix::down, r.d_out, r.hidden);
}

Bf16Matrix take_matrix(Workspace::Scope& scope, int64_t rows, int64_t columns) {
  const int64_t stride = (columns + kChunk - 1) / kChunk * kChunk;
  return {scope.take<uint16_t>(static_cast<size_t>(rows * stride)).data(), rows, columns, stride};
}

uint16_t* writable(const Bf16Matrix& matrix) { return const_cast<uint16_t*>(matrix.data); }

}  // namespace

void grouped_experts_backward(const GroupedExpertsBackwardArgs& args, const OpContext& context) {
  const auto n_experts = static_cast<int64_t>(args.expert_weights.size());
  const int64_t grouped = args.tokens * args.n_chosen, width = outputs(args.expert_weights[0].gate);
  const int32_t* choices = args.groups->choices;
  Workspace::Scope scope(context.workspace);
  const auto matrices = [&](Weight SwigluWeights::* which) {
    return expert_matrices(args.expert_weights, which, scope, context);
  };
  const ExpertTiles tiles =
      make_expert_tiles(args.groups->begin, n_experts, grouped, kTile, scope, context);
  const auto n_tiles = static_cast<unsigned>(tiles.count);
  const ExpertMatrices gate = matrices(&SwigluWeights::gate), up = matrices(&SwigluWeights::up);
  const ExpertMatrices down = matrices(&SwigluWeights::down);
  const BackwardRows r{
      .x = round_to_bf16({args.x, args.tokens, args.hidden, args.hidden}, scope, context),
      .d_out = round_to_bf16({args.d_out, args.tokens, args.hidden, args.hidden}, scope, context),
      .d_gate = take_matrix(scope, grouped, width),
      .d_up = take_matrix(scope, grouped, width),
      .hidden = take_matrix(scope, grouped, width)};
  {
    Workspace::Scope of_hidden(context.workspace);
    float* d_hidden = of_hidden.take<float>(static_cast<size_t>(grouped * width)).data();
    launch(hidden_gradient, dim3(n_tiles, tiles_of(width)), BackwardInput::kThreads,
           BackwardInput::kSharedBytes, context.stream, tiles, r.d_out, choices,
           static_cast<int>(args.n_chosen), down, d_hidden);
    constexpr int kRows = kPairThreads / kWarpLanes;
    launch(pair_backward, static_cast<unsigned>((grouped + kRows - 1) / kRows), kPairThreads, 0,
           context.stream,
           PairArgs{args.gate, args.up, d_hidden, args.weights, args.d_weights, choices,
                    writable(r.d_gate), writable(r.d_up), writable(r.hidden), grouped, width,
                    r.d_gate.stride});
  }
  const int64_t at_once = columns_at_once(grouped, args.hidden);
  float* rows = scope.take<float>(static_cast<size_t>(grouped * at_once)).data();
  for (int64_t first = 0; first < args.hidden; first += at_once) {
    const int64_t columns = std::min(at_once, args.hidden - first);
    launch(input_gradient, dim3(n_tiles, tiles_of(columns)), BackwardInput::kThreads,
           BackwardInput::kSharedBytes, context.stream, tiles, r.d_gate, r.d_up, choices, gate, up,
           InputGradientOut{rows, first, columns});
    combine_choices({.rows = rows,
                     .out = args.dx,
                     .tokens = args.tokens,
                     .n_chosen = args.n_chosen,
                     .columns = columns,
                     .first_column = first,
                     .width = args.hidden,
                     .add_to_out = true},
                    context);
  }
  if (args.sink != nullptr) weight_gradients(args, r, context);
}

}  // namespace qround::ops::cuda
