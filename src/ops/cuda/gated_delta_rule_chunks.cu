// The forward pass of the delta rule in chunks of 64 tokens (delta_rule_prepare.h makes W, U and P
// of each; Gamma = exp(gamma), gamma the sums of log_decay inside the chunk):
//
//   V~  = U - W S0
//   O   = diag(Gamma) Q S0 + P V~
//   S0' = e^{gamma_C} S0 + Kᵀ diag(e^{gamma_C - gamma}) V~
//
// A block takes 32 columns of a head's state, which do not depend on the others, through all chunks
// of a sequence; the state stays in shared memory. W, Q and P take turns in one place.
//
// Tested by tests/ops/gated_delta_rule_test.cpp.
#include "ops/cuda/delta_rule_prepare.h"
#include "ops/cuda/gated_delta_rule_chunks.h"

namespace qround::ops::cuda {
namespace {

constexpr int kMostKeys = 128;

template <int kDk>
struct Chunks {
  static constexpr int kKeyStride = ChunkPlace<kDk>::kKeyStride;
  static constexpr int kTurnFloats = kC * (kKeyStride > kSquareStride ? kKeyStride : kSquareStride);
  static constexpr int kSharedBytes =
      (kDk * kValueStride + kC * kKeyStride + kTurnFloats + kC * kValueStride + kC) * 4;
};

template <int kDk>
__global__ void __launch_bounds__(kChunkThreads)
    run_chunks(ChunkedRule rule, float* states, float* out) {
  constexpr int kKeyStride = Chunks<kDk>::kKeyStride;
  const GatedDeltaRuleBackwardArgs& args = rule.args;
  const int64_t first = int64_t{blockIdx.x} * kValueColumns, columns = rule.value_columns;
  float* state = dynamic_shared<float>();
  float* keys = state + kDk * kValueStride;
  float* turn = keys + kC * kKeyStride;  // W, then Q, then P
  float* corrected = turn + Chunks<kDk>::kTurnFloats;
  float* gamma = corrected + kC * kValueStride;
  const View s = rows_view(state, kValueStride);

  float* const own_state = states + (int64_t{blockIdx.z} * args.value_heads + blockIdx.y) *
                                        args.key_dim * args.value_dim;
  const auto state_exists = [&](int row, int column) {
    return row < args.key_dim && first + column < args.value_dim;
  };
  fill_tile(state, kValueStride, kDk, kValueColumns, [&](int row, int c) {
    return state_exists(row, c) ? own_state[row * args.value_dim + first + c] : 0.0f;
  });
  for (int64_t chunk = 0; chunk < rule.chunks; ++chunk) {
    const ChunkPlace<kDk> at{rule, blockIdx.z, blockIdx.y, chunk};
    __syncthreads();
    at.load_gates(gamma, nullptr);
    fill_tile(keys, kKeyStride, kC, kDk, [&](int t, int c) { return at.key(t, c); });
    fill_tile(turn, kKeyStride, kC, kDk,
              [&](int t, int c) { return at.keys_of(rule.store.w)[t * kDk + c]; });
    __syncthreads();
    ValueBlock sums;
    sums.clear();
    sums.add(rows_view(turn, kKeyStride), s, kDk);
    const float* u = at.values_of(rule.store.corrected);
    sums.for_each([&](int i, int c, float& value) {
      corrected[i * kValueStride + c] = u[i * columns + first + c] - value;
    });
    __syncthreads();
    fill_tile(turn, kKeyStride, kC, kDk, [&](int t, int c) { return at.query(t, c); });
    __syncthreads();
    sums.clear();
    sums.add(rows_view(turn, kKeyStride), s, kDk);
    sums.for_each([&](int i, int, float& value) { value *= expf(gamma[i]); });
    __syncthreads();
    fill_tile(turn, kSquareStride, kC, kC,
              [&](int i, int j) { return at.square(rule.store.p)[i * kC + j]; });
    __syncthreads();
    sums.add(rows_view(turn, kSquareStride), rows_view(corrected, kValueStride), kC);
    sums.for_each([&](int i, int c, float& value) {
      if (at.exists(i) && first + c < args.value_dim)
        out[at.gate(i) * args.value_dim + first + c] = value;
    });
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kC * kValueColumns; i += kChunkThreads)
      corrected[i / kValueColumns * kValueStride + i % kValueColumns] *=
          expf(gamma[kC - 1] - gamma[i / kValueColumns]);
    __syncthreads();
    advance_state<kDk>(keys, corrected, gamma, state);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kDk * kValueColumns; i += kChunkThreads) {
    const int row = i / kValueColumns, column = i % kValueColumns;
    if (state_exists(row, column))
      own_state[row * args.value_dim + first + column] = state[row * kValueStride + column];
  }
}

template <int kDk>
void launch_chunks(const GatedDeltaRuleArgs& args, const OpContext& context) {
  ChunkedRule rule{
      .args = {.q = args.q,
               .k = args.k,
               .v = args.v,
               .log_decay = args.log_decay,
               .beta = args.beta,
               .sequences = args.sequences,
               .tokens = args.tokens,
               .key_heads = args.key_heads,
               .value_heads = args.value_heads,
               .key_dim = args.key_dim,
               .value_dim = args.value_dim,
               .q_stride = args.q_stride,
               .k_stride = args.k_stride,
               .v_stride = args.v_stride},
      .store = {},
      .chunks = (args.tokens + kC - 1) / kC,
      .value_columns = (args.value_dim + kValueColumns - 1) / kValueColumns * kValueColumns};
  Workspace::Scope scope(context.workspace);
  const int64_t count = args.sequences * args.value_heads * rule.chunks;
  const auto take = [&](int64_t floats) {
    return scope.take<float>(static_cast<size_t>(count * floats)).data();
  };
  rule.store.p = take(kC * kC);
  rule.store.w = take(kC * kDk);
  rule.store.corrected = take(kC * rule.value_columns);
  const auto heads = static_cast<unsigned>(args.value_heads);
  const auto sequences = static_cast<unsigned>(args.sequences);
  launch(prepare<kDk>, dim3(static_cast<unsigned>(rule.chunks), heads, sequences), kChunkThreads,
         Prepare<kDk>::kSharedBytes, context.stream, rule);
  launch(run_chunks<kDk>,
         dim3(static_cast<unsigned>(rule.value_columns / kValueColumns), heads, sequences),
         kChunkThreads, Chunks<kDk>::kSharedBytes, context.stream, rule, args.state, args.out);
}

}  // namespace

bool fits_chunks(const GatedDeltaRuleArgs& args) {
  return args.key_dim <= kMostKeys && args.before.tokens == 0 && args.change == nullptr;
}

void gated_delta_rule_chunks(const GatedDeltaRuleArgs& args, const OpContext& context) {
  if (args.key_dim <= 32) return launch_chunks<32>(args, context);
  return launch_chunks<kMostKeys>(args, context);
}

}  // namespace qround::ops::cuda
