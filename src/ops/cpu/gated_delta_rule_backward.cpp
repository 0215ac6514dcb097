// Gradient of the delta rule in chunks of C = 64 tokens (the chunk form of arXiv 2412.06464).
//
// With γ the running sum of log_decay in a chunk, Γ = e^γ, D_ij = e^(γ_i - γ_j) for j <= i and else
// 0, and S the state before it, a chunk computes
//
//   M = K S;  T = (I + strictlow(diag(β) KKᵀ ∘ D))⁻¹;  R = diag(β) (V - diag(Γ) M);  Ṽ = T R
//   O = diag(Γ) Q S + (QKᵀ ∘ D) Ṽ;  S' = Γ_C S + (diag(e^(γ_C - γ)) K)ᵀ Ṽ
//
// Since Ṽ = T R, the gradient of R is Y = Tᵀ dṼ and that of T's inverse is -Y Ṽᵀ: neither the
// customary W = T diag(βΓ) K and its gradient nor one of T itself is needed.
//
// A thread takes one key head of one sequence and, chunk by chunk, all its value heads, which share
// what depends on keys and queries alone. The forward pass runs first and keeps S, T, Ṽ and M of
// every chunk; then the chunks are gone through from the last to the first.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/threads.h"
#include "ops/cpu/delta_rule_chunk.h"
#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"
#include "ops/gated_delta_rule.h"

namespace qround::ops::cpu {
namespace {

// y (+)= x b.
void multiply(Block x, Block b, Block y, bool accumulate) {
  cpu::multiply(MatrixProduct{.x = x.data,
                              .b = b.data,
                              .y = y.data,
                              .rows = x.rows,
                              .depth = x.columns,
                              .width = b.columns,
                              .x_stride = x.stride,
                              .b_stride = b.stride,
                              .y_stride = y.stride,
                              .accumulate = accumulate});
}

// xᵀ, written to `memory`, rows of `stride` floats.
Block transposed(Block x, float* memory, int64_t stride) {
  transpose({.from = x.data,
             .to = memory,
             .rows = x.rows,
             .columns = x.columns,
             .from_stride = x.stride,
             .to_stride = stride});
  return {memory, x.columns, x.rows, stride};
}

// Cuts a thread's memory into pieces that start on cache lines. Without memory it only counts.
class Carver {
 public:
  explicit Carver(float* memory) : memory_(memory) {}
  float* take(int64_t count) {
    float* taken = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count + 15) / 16 * 16;
    return taken;
  }
  int64_t used() const { return used_; }

 private:
  float* memory_;
  int64_t used_ = 0;
};

// Of a chunk of a value head, from the forward pass.
struct KeptChunk {
  float *state, *inverse, *v_new, *memory;  // S [Dk, Dv], T [C, C], Ṽ and M [C, Dv]
};

struct Memory {
  float *k, *q, *k_transposed, *q_transposed;  // [C, Dk], [Dk, C]
  float *kk, *qk;                              // [C, C]
  float *step, *beta, *decay, *relative;       // gates
  float *cc0, *cc1;                            // [C, C]
  float *by_key, *by_key_transposed;           // [C, Dk], [Dk, C]
  float *d_out, *d_v_new, *y;                  // [C, Dv]
  float* flipped;                              // [Dv, Dk] or [Dv, C]
  float *dq, *dk, *d_gamma, *d_beta;           // [C, Dk], [C]
  std::vector<float*> d_states;                // one [Dk, Dv] per value head of the key head
  std::vector<KeptChunk> kept;                 // [value heads of the key head, chunks]

  // Takes its pieces from `carver`.
  Memory(const GatedDeltaRuleBackwardArgs& args, Carver& carver) {
    const int64_t key = kChunk * args.key_dim, value = kChunk * args.value_dim;
    const int64_t square = kChunk * kChunk, state = args.key_dim * args.value_dim;
    for (float** piece :
         {&k, &q, &k_transposed, &q_transposed, &by_key, &by_key_transposed, &dq, &dk})
      *piece = carver.take(key);
    for (float** piece : {&kk, &qk, &relative, &cc0, &cc1}) *piece = carver.take(square);
    for (float** piece : {&step, &beta, &decay, &d_gamma, &d_beta}) *piece = carver.take(kChunk);
    for (float** piece : {&d_out, &d_v_new, &y}) *piece = carver.take(value);
    flipped = carver.take(std::max(state, value));
    const int64_t heads = args.value_heads / args.key_heads;
    const int64_t chunks = (args.tokens + kChunk - 1) / kChunk;
    for (int64_t head = 0; head < heads; ++head) d_states.push_back(carver.take(state));
    for (int64_t i = 0; i < heads * chunks; ++i)
      kept.push_back(
          {carver.take(state), carver.take(square), carver.take(value), carver.take(value)});
  }
};

class KeyHeadBackward {
 public:
  KeyHeadBackward(const GatedDeltaRuleBackwardArgs& args, int64_t sequence, int64_t key_head,
                  const Memory& memory)
      : args_(args),
        m_(memory),
        first_row_(sequence * args.tokens),
        key_head_(key_head),
        heads_(args.value_heads / args.key_heads),
        chunks_((args.tokens + kChunk - 1) / kChunk) {}

  void run() {
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      load_keys(chunk, false);
      for (int64_t head = 0; head < heads_; ++head) forward(chunk, head);
    }
    for (int64_t chunk = chunks_ - 1; chunk >= 0; --chunk) {
      load_keys(chunk, true);
      std::fill_n(m_.dq, c_ * args_.key_dim, 0.0f);
      std::fill_n(m_.dk, c_ * args_.key_dim, 0.0f);
      for (int64_t head = 0; head < heads_; ++head) backward(chunk, head);
      store(m_.dq, args_.dq, args_.dq_stride);
      store(m_.dk, args_.dk, args_.dk_stride);
    }
  }

 private:
  Block by_key(float* data) const { return {data, c_, args_.key_dim, args_.key_dim}; }
  Block by_value(float* data) const { return {data, c_, args_.value_dim, args_.value_dim}; }
  Block square(float* data) const { return {data, c_, c_, kChunk}; }
  Block state(float* data) const { return {data, args_.key_dim, args_.value_dim, args_.value_dim}; }
  const KeptChunk& kept(int64_t chunk, int64_t head) const {
    return m_.kept[static_cast<size_t>(head * chunks_ + chunk)];
  }
  int64_t value_head(int64_t head) const { return key_head_ * heads_ + head; }

  void load_keys(int64_t chunk, bool with_queries) {
    row_ = first_row_ + chunk * kChunk;
    c_ = std::min(kChunk, args_.tokens - chunk * kChunk);
    load(args_.k, args_.k_stride, m_.k);
    k_transposed_ = transposed(by_key(m_.k), m_.k_transposed, kChunk);
    multiply(by_key(m_.k), k_transposed_, square(m_.kk), false);
    if (!with_queries) return;
    load(args_.q, args_.q_stride, m_.q);
    q_transposed_ = transposed(by_key(m_.q), m_.q_transposed, kChunk);
    multiply(by_key(m_.q), k_transposed_, square(m_.qk), false);
  }
  void load(const float* from, int64_t stride, float* rows) const {
    from += row_ * stride + key_head_ * args_.key_dim;
    for (int64_t i = 0; i < c_; ++i)
      std::copy_n(from + i * stride, args_.key_dim, rows + i * args_.key_dim);
  }
  void store(const float* rows, float* to, int64_t stride) const {
    to += row_ * stride + key_head_ * args_.key_dim;
    for (int64_t i = 0; i < c_; ++i)
      std::copy_n(rows + i * args_.key_dim, args_.key_dim, to + i * stride);
  }

  ChunkGates gates(int64_t head) const {
    for (int64_t i = 0; i < c_; ++i) {
      const int64_t at = (row_ + i) * args_.value_heads + value_head(head);
      m_.step[i] = std::exp(args_.log_decay[at]);
      m_.beta[i] = args_.beta[at];
    }
    const ChunkGates g{.tokens = c_,
                       .step = m_.step,
                       .beta = m_.beta,
                       .decay = m_.decay,
                       .relative = square(m_.relative)};
    finish_gates(g);
    return g;
  }
  // The operands are only read; Block has no const twin.
  Block values(const float* from, int64_t stride, int64_t head) const {
    float* data = const_cast<float*>(from) + row_ * stride + value_head(head) * args_.value_dim;
    return {data, c_, args_.value_dim, stride};
  }

  void forward(int64_t chunk, int64_t head) const {
    const KeptChunk& now = kept(chunk, head);
    const ChunkGates g = gates(head);
    if (chunk == 0) {
      std::fill_n(now.state, args_.key_dim * args_.value_dim, 0.0f);
      std::fill_n(now.memory, c_ * args_.value_dim, 0.0f);
    } else {
      multiply(by_key(m_.k), state(now.state), by_value(now.memory), false);
    }
    const Block right = by_value(m_.y);
    invert_chunk(g, square(m_.kk), m_.cc0, square(now.inverse));
    make_right_side(g, values(args_.v, args_.v_stride, head), by_value(now.memory), right);
    multiply(square(now.inverse), right, by_value(now.v_new), false);
    if (chunk + 1 == chunks_) return;
    const Block next = state(kept(chunk + 1, head).state);
    const Block keys{m_.by_key_transposed, args_.key_dim, c_, kChunk};
    scale_block(state(now.state), g.decay[c_ - 1], next);
    scale_columns(k_transposed_, g.tail(), keys);
    multiply(keys, by_value(now.v_new), next, true);
  }

  // m_.d_states[head] is dS' before and dS after. Adds to m_.dq and m_.dk.
  void backward(int64_t chunk, int64_t head) const {
    const bool first = chunk == 0, last = chunk + 1 == chunks_;
    const KeptChunk& now = kept(chunk, head);
    const ChunkGates g = gates(head);
    const Block k = by_key(m_.k), q = by_key(m_.q), dq = by_key(m_.dq), dk = by_key(m_.dk);
    const Block s = state(now.state), v_new = by_value(now.v_new), memory = by_value(now.memory);
    const Block ds = state(m_.d_states[static_cast<size_t>(head)]);
    const Block d_out = by_value(m_.d_out), d_v_new = by_value(m_.d_v_new), y = by_value(m_.y);
    const Block scratch = by_key(m_.by_key), p = square(m_.cc0), cc = square(m_.cc1);
    float *d_gamma = m_.d_gamma, *d_beta = m_.d_beta;
    std::fill_n(d_gamma, kChunk, 0.0f);
    std::fill_n(d_beta, kChunk, 0.0f);
    scale_block(values(args_.d_out, args_.value_heads * args_.value_dim, head), 1.0f, d_out);

    // dṼ = Pᵀ dO + diag(tail) K dS', and what S' = Γ_C S + (diag(tail) K)ᵀ Ṽ gives to K and γ.
    multiply_elements(square(m_.qk), g.relative, p);
    multiply(transposed(p, cc.data, kChunk), d_out, d_v_new, false);
    if (!last) {
      scale_rows(k, g.tail(), scratch);
      multiply(scratch, ds, d_v_new, true);
      multiply(v_new, transposed(ds, m_.flipped, args_.key_dim), scratch, false);
      const float to_last = add_row_factor_gradient(k, scratch, g.tail(), -1.0f, dk, d_gamma);
      d_gamma[c_ - 1] += g.decay[c_ - 1] * inner_product(s, ds) - to_last;
    }
    // Through P = QKᵀ ∘ D, dP = dO Ṽᵀ.
    const Block v_new_transposed = transposed(v_new, m_.flipped, kChunk);
    multiply(d_out, v_new_transposed, cc, false);
    through_scores(g, p, cc, d_gamma);
    multiply(cc, k, dq, true);
    multiply(transposed(cc, p.data, kChunk), q, dk, true);
    // Through T, with Y = Tᵀ dṼ.
    multiply(transposed(square(now.inverse), cc.data, kChunk), d_v_new, y, false);
    multiply(y, v_new_transposed, cc, false);
    through_inverse(g, square(m_.kk), cc, d_beta, d_gamma);
    multiply(cc, k, dk, true);
    through_right_side(g, values(args_.v, args_.v_stride, head), memory, y,
                       values(args_.dv, args_.dv_stride, head), d_beta, d_gamma);
    if (!first) through_state(g, s, d_out, y, ds, last);
    store_gates(head);
  }

  // dQ += diag(Γ) dO Sᵀ, dK += dM Sᵀ, dS = Γ_C dS' + (diag(Γ) Q)ᵀ dO + Kᵀ dM.
  void through_state(const ChunkGates& g, Block s, Block d_out, Block d_memory, Block ds,
                     bool last) const {
    const Block q = by_key(m_.q), dq = by_key(m_.dq), dk = by_key(m_.dk);
    const Block scratch = by_key(m_.by_key);
    const Block s_transposed = transposed(s, m_.flipped, args_.key_dim);
    multiply(d_out, s_transposed, scratch, false);
    add_row_factor_gradient(q, scratch, g.decay, 1.0f, dq, m_.d_gamma);
    multiply(d_memory, s_transposed, dk, true);
    const Block queries{m_.by_key_transposed, args_.key_dim, c_, kChunk};
    scale_columns(q_transposed_, g.decay, queries);
    if (!last) scale_block(ds, g.decay[c_ - 1], ds);
    multiply(queries, d_out, ds, !last);
    multiply(k_transposed_, d_memory, ds, true);
  }

  void store_gates(int64_t head) const {
    float sum = 0;
    for (int64_t i = c_ - 1; i >= 0; --i) {
      const int64_t at = (row_ + i) * args_.value_heads + value_head(head);
      args_.d_log_decay[at] = sum += m_.d_gamma[i];
      args_.d_beta[at] = m_.d_beta[i];
    }
  }

  const GatedDeltaRuleBackwardArgs& args_;
  const Memory& m_;
  int64_t first_row_, key_head_, heads_, chunks_;
  // Of the chunk at hand.
  int64_t row_ = 0, c_ = 0;
  Block k_transposed_, q_transposed_;
};

}  // namespace

void gated_delta_rule_backward(const GatedDeltaRuleBackwardArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  Carver counter(nullptr);
  const Memory none(args, counter);
  const auto floats = static_cast<size_t>(counter.used());
  Workspace::Scope scope(context.workspace);
  const auto memory = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  std::vector<Memory> of_worker;
  for (int worker = 0; worker < context.threads.count; ++worker) {
    Carver carver(memory.data() + floats * static_cast<size_t>(worker));
    of_worker.emplace_back(args, carver);
  }
  parallel_for(context.threads, static_cast<size_t>(args.sequences * args.key_heads),
               [&](size_t index, int worker) {
                 const auto task = static_cast<int64_t>(index);
                 KeyHeadBackward(args, task / args.key_heads, task % args.key_heads,
                                 of_worker[static_cast<size_t>(worker)])
                     .run();
               });
}

}  // namespace qround::ops::cpu
