// The recurrence token by token (many rows: gated_delta_rule_chunks.cu), the state in registers:
// four lanes share a column of S and have every fourth row of it. Columns do not depend on each
// other, so a block takes 32 columns of one head through all tokens; the state is read and written
// once.
//
// Every token is the same arithmetic whether it is plain, tentative or applied later (`before`):
// S <- fma(k, change, S * decay). So a sequence in pieces, and one whose tokens were tentative
// first, gives the bits of the whole.
//
// Registers as nvcc 13.0 compiles it for keys of 128, none spilled: 94 for sm_80, 96 for sm_90, 254
// for sm_120, where bounds for more blocks make it spill. Not yet run on a GPU.
//
// Tested by tests/ops/gated_delta_rule_test.cpp.
#include "base/error.h"
#include "ops/cuda/gated_delta_rule_chunks.h"
#include "ops/cuda/launch.h"
#include "ops/sequences.h"

namespace qround::ops::cuda {
namespace {

constexpr int kLanes = 4;  // that share a column
constexpr int kThreads = 128, kColumns = kThreads / kLanes;
constexpr int kTokensAtOnce = 16;  // whose keys and queries lie in shared memory
constexpr int kMostRows = 64;      // of a column in a lane: Dk up to 256

__device__ float lanes_sum(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFu, value, 1);
  return value + __shfl_xor_sync(0xFFFFFFFFu, value, 2);
}

// kRows * 4 >= Dk; the rows beyond Dk are zeros.
template <int kRows>
class Columns {
 public:
  __device__ explicit Columns(const GatedDeltaRuleArgs& args)
      : args_(args),
        head_(blockIdx.y),
        key_head_(head_ / (args.value_heads / args.key_heads)),
        lane_(static_cast<int>(threadIdx.x) % kLanes),
        column_(int64_t{blockIdx.x} * kColumns + threadIdx.x / kLanes),
        exists_(column_ < args.value_dim),
        keys_(dynamic_shared<float>()),
        queries_(keys_ + kTokensAtOnce * kRows * kLanes) {}

  __device__ void run() {
    for_each_row([&](float& s, int64_t row) { s = exists_ ? *state_at(row) : 0; });
    const DeltaRuleUpdates& before = args_.before;
    for (int64_t first = 0; first < before.tokens; first += kTokensAtOnce) {
      const int count = static_cast<int>(min(int64_t{kTokensAtOnce}, before.tokens - first));
      load(keys_, before.k, args_.key_heads * args_.key_dim, first, count);
      for (int t = 0; t < count; ++t) apply(first + t, keys_ + t * kRows * kLanes);
    }
    const bool tentative = args_.change != nullptr;
    if (tentative) store_state();
    for (int64_t first = 0; first < args_.tokens; first += kTokensAtOnce) {
      const int count = static_cast<int>(min(int64_t{kTokensAtOnce}, args_.tokens - first));
      load(keys_, args_.k, args_.k_stride, first, count);
      load(queries_, args_.q, args_.q_stride, first, count);
      for (int t = 0; t < count; ++t)
        step(first + t, keys_ + t * kRows * kLanes, queries_ + t * kRows * kLanes);
    }
    if (!tentative) store_state();
  }

 private:
  template <class Use>
  __device__ void for_each_row(const Use& use) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = r * kLanes + lane_;
      if (row < args_.key_dim) {
        use(state_[r], row);
      } else {
        state_[r] = 0;
      }
    }
  }
  __device__ float* state_at(int64_t row) const {
    return args_.state + (head_ * args_.key_dim + row) * args_.value_dim + column_;
  }
  __device__ void store_state() {
    if (exists_) for_each_row([&](float& s, int64_t row) { *state_at(row) = s; });
  }

  // Rows of the key head of tokens [first, first + count).
  __device__ void load(float* to, const float* from, int64_t stride, int64_t first, int count) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count * kRows * kLanes; i += kThreads) {
      const int token = i / (kRows * kLanes), row = i % (kRows * kLanes);
      to[i] = row < args_.key_dim ? from[(first + token) * stride + key_head_ * args_.key_dim + row]
                                  : 0.0f;
    }
    __syncthreads();
  }

  __device__ void apply(int64_t token, const float* k) {
    const int64_t gate = token * args_.value_heads + head_;
    const float decay = args_.before.decay[gate];
    const float change = exists_ ? args_.before.change[gate * args_.value_dim + column_] : 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      state_[r] = __fmaf_rn(k[r * kLanes + lane_], change, __fmul_rn(state_[r], decay));
  }

  __device__ void step(int64_t token, const float* k, const float* q) {
    const int64_t gate = token * args_.value_heads + head_;
    const float decay = expf(args_.log_decay[gate]);
    const float v =
        exists_ ? args_.v[token * args_.v_stride + head_ * args_.value_dim + column_] : 0;
    float memory = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      state_[r] = __fmul_rn(state_[r], decay);
      memory = __fmaf_rn(state_[r], k[r * kLanes + lane_], memory);
    }
    memory = lanes_sum(memory);
    const float change = __fmul_rn(args_.beta[gate], v - memory);
    float out = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      state_[r] = __fmaf_rn(k[r * kLanes + lane_], change, state_[r]);
      out = __fmaf_rn(state_[r], q[r * kLanes + lane_], out);
    }
    out = lanes_sum(out);
    if (lane_ == 0 && exists_) {
      args_.out[gate * args_.value_dim + column_] = out;
      if (args_.change != nullptr) args_.change[gate * args_.value_dim + column_] = change;
    }
    if (args_.change != nullptr && threadIdx.x == 0 && blockIdx.x == 0) args_.decay[gate] = decay;
  }

  const GatedDeltaRuleArgs& args_;
  int64_t head_, key_head_;
  int lane_;
  int64_t column_;
  bool exists_;
  float *keys_, *queries_;
  float state_[kRows];
};

template <int kRows>
__global__ void __launch_bounds__(kThreads) run_tokens(GatedDeltaRuleArgs args) {
  const GatedDeltaRuleArgs sequence = sequence_of(args, blockIdx.z);
  Columns<kRows>(sequence).run();
}

// A sequence of a batch; the first blocks of a key head keep the keys of tentative tokens.
template <int kRows>
__global__ void __launch_bounds__(kThreads) run_sequences(SequenceDeltaRuleArgs args) {
  const SequencePlace& place = args.batch.places[blockIdx.z];
  const GatedDeltaRuleArgs sequence = delta_rule_of(args, place);
  if (sequence.tokens == 0 && sequence.before.tokens == 0) return;
  const int64_t heads_per_key = sequence.value_heads / sequence.key_heads;
  if (place.tentative && blockIdx.x == 0 && blockIdx.y % heads_per_key == 0) {
    const int64_t column = blockIdx.y / heads_per_key * sequence.key_dim;
    float* keys = args.layer.keys(place.delta_net, 1 - place.delta_net.owed_set);
    for (int64_t i = threadIdx.x; i < sequence.tokens * sequence.key_dim; i += kThreads) {
      const int64_t at = i / sequence.key_dim * sequence.k_stride + column + i % sequence.key_dim;
      keys[at] = sequence.k[at];
    }
  }
  Columns<kRows>(sequence).run();
}

// launch_for(kRows): with enough rows for keys of `key_dim`.
template <class LaunchFor>
void with_rows(int64_t key_dim, const LaunchFor& launch_for) {
  if (key_dim <= 8 * kLanes) return launch_for.template operator()<8>();
  if (key_dim <= 32 * kLanes) return launch_for.template operator()<32>();
  if (key_dim <= kMostRows * kLanes) return launch_for.template operator()<kMostRows>();
  throw Error("the cuda backend's delta rule takes keys of at most 256")
      .actual(std::to_string(key_dim));
}

dim3 grid_of(int64_t value_dim, int64_t value_heads, int64_t sequences) {
  return dim3(static_cast<unsigned>((value_dim + kColumns - 1) / kColumns),
              static_cast<unsigned>(value_heads), static_cast<unsigned>(sequences));
}

constexpr size_t shared_bytes(int rows) {
  return 2 * kTokensAtOnce * rows * kLanes * sizeof(float);
}

}  // namespace

void gated_delta_rule(const GatedDeltaRuleArgs& args, const OpContext& context) {
  if (args.tokens == 0 && args.before.tokens == 0) return;
  if (context.many_rows && fits_chunks(args)) return gated_delta_rule_chunks(args, context);
  const dim3 grid = grid_of(args.value_dim, args.value_heads, args.sequences);
  with_rows(args.key_dim, [&]<int kRows>() {
    launch(run_tokens<kRows>, grid, kThreads, shared_bytes(kRows), context.stream, args);
  });
}

void sequence_delta_rule(const SequenceDeltaRuleArgs& args, const OpContext& context) {
  const DeltaNetShape& shape = args.layer.shape;
  const dim3 grid = grid_of(shape.value_dim, shape.value_heads, args.batch.sequences);
  with_rows(shape.key_dim, [&]<int kRows>() {
    launch(run_sequences<kRows>, grid, kThreads, shared_bytes(kRows), context.stream, args);
  });
}

}  // namespace qround::ops::cuda
