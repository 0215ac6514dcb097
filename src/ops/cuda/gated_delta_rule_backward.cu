// Gradients of the delta rule in chunks of 64 tokens (model.md §7 names the matrices; D_ij =
// exp(gamma_i - gamma_j) for i >= j, Gamma = exp(gamma)). Five passes, two of them over the chunks
// one after the other, those in parallel over sequences, heads and 32 columns of S, which do not
// depend on each other:
//
//   prepare    each chunk      T = (I + L)^-1, W = T diag(beta Gamma) K, U = T diag(beta) V, P
//   states     first to last   S0 of every chunk, V~ = U - W S0
//   d_states   last to first   dS1 of every chunk, dV~ = Pᵀ dO + diag(e^{gamma_C - gamma}) K dS1
//   gradients  each chunk      everything else, by value head
//   add_heads                  dq and dk: the sum over the value heads of a key head, in order
//
// No float atomics. T is made in f32; products have TF32 factors and f32 sums (chunk_product.h).
//
// Registers as nvcc 13.0 compiles it for keys of 128, none spilled: 80, 127, 127 and 223 in the
// first four passes, of 256 threads and up to 96 KiB of shared memory. Not yet run on a GPU.
//
// Tested by tests/ops/gated_delta_rule_backward_test.cpp.
#include <algorithm>

#include "base/error.h"
#include "ops/cuda/delta_rule_prepare.h"
#include "ops/cuda/reduce.h"

namespace qround::ops::cuda {
namespace {

template <int kDk>
struct States {
  static constexpr int kSharedBytes =
      (kDk * kValueStride + 2 * kC * ChunkPlace<kDk>::kKeyStride + kC * kValueStride + kC) * 4;
};

template <int kDk>
__global__ void __launch_bounds__(kChunkThreads) states(ChunkedRule rule) {
  constexpr int kKeyStride = ChunkPlace<kDk>::kKeyStride;
  const int64_t first = int64_t{blockIdx.x} * kValueColumns, columns = rule.value_columns;
  float* state = dynamic_shared<float>();
  float* keys = state + kDk * kValueStride;
  float* w = keys + kC * kKeyStride;
  float* corrected = w + kC * kKeyStride;
  float* gamma = corrected + kC * kValueStride;
  const View s = rows_view(state, kValueStride);

  fill_tile(state, kValueStride, kDk, kValueColumns, [](int, int) { return 0.0f; });
  for (int64_t chunk = 0; chunk < rule.chunks; ++chunk) {
    const ChunkPlace<kDk> at{rule, blockIdx.z, blockIdx.y, chunk};
    __syncthreads();
    at.load_gates(gamma, nullptr);
    float* store = at.state_of(rule.store.states);
    for (int i = static_cast<int>(threadIdx.x); i < kDk * kValueColumns; i += kChunkThreads)
      store[i / kValueColumns * columns + first + i % kValueColumns] =
          state[i / kValueColumns * kValueStride + i % kValueColumns];
    fill_tile(keys, kKeyStride, kC, kDk, [&](int t, int c) { return at.key(t, c); });
    fill_tile(w, kKeyStride, kC, kDk,
              [&](int t, int c) { return at.keys_of(rule.store.w)[t * kDk + c]; });
    __syncthreads();
    ValueBlock read;
    read.clear();
    read.add(rows_view(w, kKeyStride), s, kDk);
    float* u = at.values_of(rule.store.corrected);
    read.for_each([&](int i, int c, float& value) {
      float& of_token = u[i * columns + first + c];
      of_token -= value;
      corrected[i * kValueStride + c] = of_token * expf(gamma[kC - 1] - gamma[i]);
    });
    __syncthreads();
    advance_state<kDk>(keys, corrected, gamma, state);
  }
}

template <int kDk>
struct StateGradients {
  static constexpr int kSharedBytes = (kDk * kValueStride + kC * ChunkPlace<kDk>::kKeyStride +
                                       kC * kSquareStride + 2 * kC * kValueStride + kC) *
                                      4;
};

template <int kDk>
__global__ void __launch_bounds__(kChunkThreads) state_gradients(ChunkedRule rule) {
  constexpr int kKeyStride = ChunkPlace<kDk>::kKeyStride;
  const int64_t first = int64_t{blockIdx.x} * kValueColumns, columns = rule.value_columns;
  float* d_state = dynamic_shared<float>();
  float* keys = d_state + kDk * kValueStride;  // K, then Q, then W
  float* p = keys + kC * kKeyStride;
  float* d_out = p + kC * kSquareStride;
  float* d_corrected = d_out + kC * kValueStride;  // negative
  float* gamma = d_corrected + kC * kValueStride;
  const View k = rows_view(keys, kKeyStride);

  fill_tile(d_state, kValueStride, kDk, kValueColumns, [](int, int) { return 0.0f; });
  for (int64_t chunk = rule.chunks - 1; chunk >= 0; --chunk) {
    const ChunkPlace<kDk> at{rule, blockIdx.z, blockIdx.y, chunk};
    __syncthreads();
    at.load_gates(gamma, nullptr);
    float* store = at.state_of(rule.store.d_states);
    for (int i = static_cast<int>(threadIdx.x); i < kDk * kValueColumns; i += kChunkThreads)
      store[i / kValueColumns * columns + first + i % kValueColumns] =
          d_state[i / kValueColumns * kValueStride + i % kValueColumns];
    fill_tile(keys, kKeyStride, kC, kDk, [&](int t, int c) { return at.key(t, c); });
    fill_tile(p, kSquareStride, kC, kC,
              [&](int i, int j) { return at.square(rule.store.p)[i * kC + j]; });
    fill_tile(d_out, kValueStride, kC, kValueColumns,
              [&](int t, int c) { return at.d_out(t, first + c); });
    __syncthreads();
    ValueBlock sums;
    sums.clear();
    sums.add(k, rows_view(d_state, kValueStride), kDk);
    sums.for_each([&](int i, int, float& value) { value *= expf(gamma[kC - 1] - gamma[i]); });
    sums.add(rows_view(p, kSquareStride).transposed(), rows_view(d_out, kValueStride), kC);
    float* d_values = at.values_of(rule.store.d_corrected);
    sums.for_each([&](int i, int c, float& value) {
      d_values[i * columns + first + c] = value;
      d_corrected[i * kValueStride + c] = -value;
    });
    __syncthreads();
    fill_tile(keys, kKeyStride, kC, kDk, [&](int t, int c) { return at.query(t, c); });
    for (int i = static_cast<int>(threadIdx.x); i < kC * kValueColumns; i += kChunkThreads)
      d_out[i / kValueColumns * kValueStride + i % kValueColumns] *= expf(gamma[i / kValueColumns]);
    __syncthreads();
    ChunkSums<kDk, kValueColumns> change;
    change.clear();
    change.add(k.transposed(), rows_view(d_out, kValueStride), kC);
    __syncthreads();
    fill_tile(keys, kKeyStride, kC, kDk,
              [&](int t, int c) { return at.keys_of(rule.store.w)[t * kDk + c]; });
    __syncthreads();
    change.add(k.transposed(), rows_view(d_corrected, kValueStride), kC);
    const float decay = expf(gamma[kC - 1]);
    change.for_each([&](int i, int c, float& value) {
      float& element = d_state[i * kValueStride + c];
      element = decay * element + value;
    });
  }
}

// The last pass: one chunk of one value head.
template <int kDk>
class Gradients {
 public:
  static constexpr int kKeyStride = ChunkPlace<kDk>::kKeyStride;
  static constexpr int kStateFloats = kDk * kValueStride, kValueFloats = kC * kValueStride;
  static constexpr int kHalfStride = kC + 2;  // two squares in the place of one [64, kDk]
  static constexpr int kKeyFloats = std::max(kC * kKeyStride, 2 * kC * kHalfStride);
  static constexpr int kWorkFloats =
      std::max(2 * kStateFloats + 4 * kValueFloats, kKeyFloats + kC * kKeyStride);
  static constexpr int kSharedBytes = (kC * kSquareStride + kWorkFloats + 9 * kC) * 4;

  __device__ explicit Gradients(const ChunkedRule& rule)
      : rule_(rule), at_{rule, blockIdx.z, blockIdx.y, blockIdx.x} {
    t_ = dynamic_shared<float>();
    work_ = t_ + kC * kSquareStride;
    gamma_ = work_ + kWorkFloats;
    beta_ = gamma_ + kC;
    d_gamma_ = beta_ + kC;
    d_beta_ = d_gamma_ + kC;
    moved_ = d_beta_ + kC;
    partial_ = moved_ + kC;  // [64][4]
  }

  __device__ void run() {
    at_.load_gates(gamma_, beta_);
    if (threadIdx.x < kC) d_gamma_[threadIdx.x] = d_beta_[threadIdx.x] = 0;
    fill_tile(t_, kSquareStride, kC, kC,
              [&](int i, int j) { return at_.square(rule_.store.t)[i * kC + j]; });
    through_values();
    through_keys();
    through_inverse();
    through_scores();
    finish();
  }

 private:
  __device__ View t() const { return rows_view(t_, kSquareStride); }
  __device__ float big_gamma(int i) const { return expf(gamma_[i]); }
  __device__ float to_end(int i) const { return expf(gamma_[kC - 1] - gamma_[i]); }
  __device__ float decay(int i, int j) const { return expf(gamma_[i] - gamma_[j]); }

  // All sums over Dv: dO S0ᵀ, dV~ S0ᵀ, V~ dS1ᵀ, dO V~ᵀ, dV~ Vᵀ; dv and its share of d_beta.
  __device__ void through_values() {
    float* s = work_;
    float* d_s = s + kStateFloats;
    float* d_out = d_s + kStateFloats;
    float* corrected = d_out + kValueFloats;
    float* d_corrected = corrected + kValueFloats;
    float* v = d_corrected + kValueFloats;
    out_state_.clear();
    w_.clear();
    corrected_state_.clear();
    d_p_.clear();
    d_t_.clear();
    float inner = 0;
    for (int64_t first = 0; first < rule_.value_columns; first += kValueColumns) {
      __syncthreads();
      const auto of_state = [&](float* to, float* store) {
        fill_tile(to, kValueStride, kDk, kValueColumns, [&](int i, int c) {
          return at_.state_of(store)[i * rule_.value_columns + first + c];
        });
      };
      const auto of_values = [&](float* to, float* store) {
        fill_tile(to, kValueStride, kC, kValueColumns, [&](int i, int c) {
          return at_.values_of(store)[i * rule_.value_columns + first + c];
        });
      };
      of_state(s, rule_.store.states);
      of_state(d_s, rule_.store.d_states);
      of_values(corrected, rule_.store.corrected);
      of_values(d_corrected, rule_.store.d_corrected);
      fill_tile(d_out, kValueStride, kC, kValueColumns,
                [&](int i, int c) { return at_.d_out(i, first + c); });
      fill_tile(v, kValueStride, kC, kValueColumns,
                [&](int i, int c) { return at_.v(i, first + c); });
      __syncthreads();
      const auto view = [](const float* tile) { return rows_view(tile, kValueStride); };
      out_state_.add(view(d_out), view(s).transposed(), kValueColumns);
      w_.add(view(d_corrected), view(s).transposed(), kValueColumns);
      corrected_state_.add(view(corrected), view(d_s).transposed(), kValueColumns);
      d_p_.add(view(d_out), view(corrected).transposed(), kValueColumns);
      d_t_.add(view(d_corrected), view(v).transposed(), kValueColumns);
      ValueBlock y;
      y.clear();
      y.add(t().transposed(), view(d_corrected), kC);
      y.for_each([&](int i, int c, float& value) {
        if (!at_.exists(i) || first + c >= rule_.args.value_dim) return;
        rule_.args
            .dv[at_.row(i) * rule_.args.dv_stride + at_.head * rule_.args.value_dim + first + c] =
            beta_[i] * value;
      });
      y.sum_rows([&](int i, int c, float value) { return v[i * kValueStride + c] * value; },
                 partial_, [&](int i, float sum) { d_beta_[i] += sum; });
      for (int i = static_cast<int>(threadIdx.x); i < kDk * kValueColumns; i += kChunkThreads) {
        const int place = i / kValueColumns * kValueStride + i % kValueColumns;
        inner += s[place] * d_s[place];
      }
    }
    states_inner_ = block_sum<kChunkThreads>(inner);
    d_t_.for_each([&](int, int j, float& value) { value *= beta_[j]; });
  }

  // W's share: dW = -dV~ S0ᵀ, X = Tᵀ dW; and what the state at the end gives to keys.
  __device__ void through_keys() {
    float* d_w = work_;
    keys_ = work_ + kKeyFloats;
    __syncthreads();
    w_.for_each([&](int i, int c, float& value) { d_w[i * kKeyStride + c] = -value; });
    fill_tile(keys_, kKeyStride, kC, kDk, [&](int t, int c) { return at_.key(t, c); });
    __syncthreads();
    const View k = rows_view(keys_, kKeyStride), dw = rows_view(d_w, kKeyStride);
    w_.clear();
    w_.add(t().transposed(), dw, kC);  // X from here on
    Square products;
    products.clear();
    products.add(dw, k.transposed(), kDk);
    d_t_.with(products, [&](int, int j, float& value, float product) {
      value += product * beta_[j] * big_gamma(j);
    });
    key_products_.clear();
    key_products_.add(k, k.transposed(), kDk);
    const auto times_key = [&](int i, int c, float value) {
      return keys_[i * kKeyStride + c] * value;
    };
    w_.sum_rows(times_key, partial_, [&](int i, float sum) {
      d_beta_[i] += big_gamma(i) * sum;
      d_gamma_[i] += beta_[i] * big_gamma(i) * sum;
    });
    corrected_state_.sum_rows(times_key, partial_, [&](int i, float sum) {
      moved_[i] = to_end(i) * sum;
      d_gamma_[i] -= moved_[i];
    });
    corrected_state_.with(w_, [&](int i, int, float& value, float x) {  // dk from here on
      value = to_end(i) * value + beta_[i] * big_gamma(i) * x;
    });
  }

  // Through T: G = strictlow(-Tᵀ dT Tᵀ).
  __device__ void through_inverse() {
    float* first = work_;
    float* second = first + kC * kHalfStride;
    const View one = rows_view(first, kHalfStride), two = rows_view(second, kHalfStride);
    const View k = rows_view(keys_, kKeyStride);
    __syncthreads();
    d_t_.for_each([&](int i, int j, float& value) { first[i * kHalfStride + j] = value; });
    __syncthreads();
    Square g;
    g.clear();
    g.add(t().transposed(), one, kC);
    g.for_each([&](int i, int j, float& value) { second[i * kHalfStride + j] = value; });
    __syncthreads();
    g.clear();
    g.add(two, t().transposed(), kC);
    __syncthreads();
    g.with(key_products_, [&](int i, int j, float& value, float product) {
      const float scaled = i > j ? -value * decay(i, j) : 0;
      first[i * kHalfStride + j] = scaled * beta_[i];
      second[i * kHalfStride + j] = scaled * product;
    });
    __syncthreads();
    if (threadIdx.x < kC) {
      const int i = static_cast<int>(threadIdx.x);
      float of_row = 0, of_column = 0;
      for (int j = 0; j < kC; ++j) {
        of_row += second[i * kHalfStride + j];
        of_column += beta_[j] * second[j * kHalfStride + i];
      }
      d_beta_[i] += of_row;
      d_gamma_[i] += beta_[i] * of_row - of_column;
    }
    corrected_state_.add(one, k, kC);
    corrected_state_.add(one.transposed(), k, kC);
  }

  // Through P, and the queries' reading of S0.
  __device__ void through_scores() {
    float* scaled = work_;
    float* products = scaled + kC * kHalfStride;
    const View k = rows_view(keys_, kKeyStride), dp = rows_view(scaled, kHalfStride);
    __syncthreads();
    d_p_.for_each([&](int i, int j, float& value) {
      scaled[i * kHalfStride + j] = i >= j ? value * decay(i, j) : 0;
      products[i * kHalfStride + j] = i >= j ? value * at_.square(rule_.store.p)[i * kC + j] : 0;
    });
    __syncthreads();
    if (threadIdx.x < kC) {
      const int i = static_cast<int>(threadIdx.x);
      float difference = 0;
      for (int j = 0; j < kC; ++j)
        difference += products[i * kHalfStride + j] - products[j * kHalfStride + i];
      d_gamma_[i] += difference;
    }
    out_state_.for_each([&](int i, int, float& value) { value *= big_gamma(i); });
    out_state_.sum_rows([&](int i, int c, float value) { return at_.query(i, c) * value; },
                        partial_, [&](int i, float sum) { d_gamma_[i] += sum; });
    out_state_.add(dp, k, kC);
    out_state_.for_each(
        [&](int i, int c, float& value) { at_.keys_of(rule_.store.dq)[i * kDk + c] = value; });
    __syncthreads();
    fill_tile(keys_, kKeyStride, kC, kDk, [&](int t, int c) { return at_.query(t, c); });
    __syncthreads();
    corrected_state_.add(dp.transposed(), k, kC);
    corrected_state_.for_each(
        [&](int i, int c, float& value) { at_.keys_of(rule_.store.dk)[i * kDk + c] = value; });
  }

  // gamma is a running sum: its gradient runs back.
  __device__ void finish() {
    __syncthreads();
    if (threadIdx.x != 0) return;
    float sum = big_gamma(kC - 1) * states_inner_;
    for (int i = 0; i < kC; ++i) sum += moved_[i];
    for (int i = kC - 1; i >= 0; --i) {
      sum += d_gamma_[i];
      if (!at_.exists(i)) continue;
      rule_.args.d_log_decay[at_.gate(i)] = sum;
      rule_.args.d_beta[at_.gate(i)] = d_beta_[i];
    }
  }

  const ChunkedRule& rule_;
  ChunkPlace<kDk> at_;
  float *t_, *work_, *keys_ = nullptr;
  float *gamma_, *beta_, *d_gamma_, *d_beta_, *moved_, *partial_;
  float states_inner_ = 0;              // <S0, dS1>
  ChunkSums<kC, kDk> out_state_;        // dO S0ᵀ, then dq
  ChunkSums<kC, kDk> w_;                // dV~ S0ᵀ, then X
  ChunkSums<kC, kDk> corrected_state_;  // V~ dS1ᵀ, then dk
  Square d_p_, d_t_, key_products_;
};

template <int kDk>
__global__ void __launch_bounds__(kChunkThreads) gradients(ChunkedRule rule) {
  Gradients<kDk>(rule).run();
}

// dq and dk of a key head: the sum over its value heads.
template <int kDk>
__global__ void add_heads(ChunkedRule rule) {
  const GatedDeltaRuleBackwardArgs& args = rule.args;
  const int64_t index = int64_t{blockIdx.x} * kChunkThreads + threadIdx.x;
  const int64_t width = args.key_heads * args.key_dim;
  if (index >= args.sequences * args.tokens * width) return;
  const int64_t row = index / width, column = index % args.key_dim;
  const int64_t key_head = index % width / args.key_dim, shared = args.value_heads / args.key_heads;
  const int64_t token = row % args.tokens;
  float dq = 0, dk = 0;
  for (int64_t head = key_head * shared; head < (key_head + 1) * shared; ++head) {
    const int64_t chunk = (row / args.tokens * args.value_heads + head) * rule.chunks + token / kC;
    const int64_t at = (chunk * kC + token % kC) * kDk + column;
    dq += rule.store.dq[at];
    dk += rule.store.dk[at];
  }
  args.dq[row * args.dq_stride + index % width] = dq;
  args.dk[row * args.dk_stride + index % width] = dk;
}

template <int kDk>
void launch_passes(const GatedDeltaRuleBackwardArgs& args, const OpContext& context) {
  ChunkedRule rule{
      .args = args,
      .chunks = (args.tokens + kC - 1) / kC,
      .value_columns = (args.value_dim + kValueColumns - 1) / kValueColumns * kValueColumns};
  Workspace::Scope scope(context.workspace);
  const int64_t count = args.sequences * args.value_heads * rule.chunks;
  const auto take = [&](int64_t floats) {
    return scope.take<float>(static_cast<size_t>(count * floats)).data();
  };
  const int64_t values = kC * rule.value_columns, state = kDk * rule.value_columns;
  rule.store = {.t = take(kC * kC),
                .p = take(kC * kC),
                .w = take(kC * kDk),
                .corrected = take(values),
                .d_corrected = take(values),
                .states = take(state),
                .d_states = take(state),
                .dq = take(kC * kDk),
                .dk = take(kC * kDk)};
  const auto heads = static_cast<unsigned>(args.value_heads);
  const auto sequences = static_cast<unsigned>(args.sequences);
  const dim3 by_chunk(static_cast<unsigned>(rule.chunks), heads, sequences);
  const dim3 by_column(static_cast<unsigned>(rule.value_columns / kValueColumns), heads, sequences);
  launch(prepare<kDk>, by_chunk, kChunkThreads, Prepare<kDk>::kSharedBytes, context.stream, rule);
  launch(states<kDk>, by_column, kChunkThreads, States<kDk>::kSharedBytes, context.stream, rule);
  launch(state_gradients<kDk>, by_column, kChunkThreads, StateGradients<kDk>::kSharedBytes,
         context.stream, rule);
  launch(gradients<kDk>, by_chunk, kChunkThreads, Gradients<kDk>::kSharedBytes, context.stream,
         rule);
  const int64_t elements = args.sequences * args.tokens * args.key_heads * args.key_dim;
  launch(add_heads<kDk>, static_cast<unsigned>((elements + kChunkThreads - 1) / kChunkThreads),
         kChunkThreads, 0, context.stream, rule);
}

}  // namespace

void gated_delta_rule_backward(const GatedDeltaRuleBackwardArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  if (args.key_dim <= 32) return launch_passes<32>(args, context);
  if (args.key_dim <= 128) return launch_passes<128>(args, context);
  throw Error("the cuda backend's delta rule takes keys of at most 128 in tuning")
      .actual(std::to_string(args.key_dim));
}

}  // namespace qround::ops::cuda
