// Gated full attention in training (block.cpp's attention_forward for a batch, and its gradient).
#include <cmath>

#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

// Queries, gates and keys as attention reads them, made from the projections.
struct Heads {
  std::span<float> raw_query;    // [T, Hq, D]: before norm and rotation
  std::span<float> gate;         // [T, Hq, D]
  std::span<float> query, keys;  // [T, Hq, D], [T, Hkv, D]
};

class AttentionPass {
 public:
  AttentionPass(const TrainingPass& pass, const AttentionActivations& saved)
      : pass_(pass), a_(pass.config.attention), saved_(saved) {}

  int64_t query_width() const { return a_.heads * a_.head_dim; }
  int64_t kv_width() const { return a_.kv_heads * a_.head_dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(a_.head_dim)); }
  ops::RmsNormShape norm_shape(int64_t heads) const {
    return {pass_.tokens() * heads, a_.head_dim, pass_.config.norm_eps};
  }
  ops::RotaryArgs rotary(float* x, int64_t heads) const {
    return {.x = x,
            .positions = saved_.positions.data(),
            .inverse_frequencies = saved_.inverse_frequencies.data(),
            .tokens = pass_.tokens(),
            .heads = heads,
            .head_dim = a_.head_dim,
            .rotary_dim = a_.rotary_dim};
  }

  Heads heads(const AttentionWeights& weights, Scope& scope) const {
    const int64_t tokens = pass_.tokens();
    const Heads h{
        take_floats(scope, tokens * query_width()), take_floats(scope, tokens * query_width()),
        take_floats(scope, tokens * query_width()), take_floats(scope, tokens * kv_width())};
    split(saved_.joined.data(), h.raw_query.data(), h.gate.data());
    const ops::OpTable& ops = pass_.run.ops;
    const ops::OpContext& context = pass_.run.context;
    ops.zero_centered_rms_norm(h.raw_query.data(), weights.q_norm.data(), norm_shape(a_.heads),
                               h.query.data(), context);
    ops.zero_centered_rms_norm(saved_.keys.data(), weights.k_norm.data(), norm_shape(a_.kv_heads),
                               h.keys.data(), context);
    ops.rotary_embedding(rotary(h.query.data(), a_.heads), context);
    ops.rotary_embedding(rotary(h.keys.data(), a_.kv_heads), context);
    return h;
  }

  // q_proj gives, per head, D values of the query, then D of its gate.
  void split(const float* joined, float* query, float* gate) const {
    copy_heads(joined, 2 * a_.head_dim, query, a_.head_dim);
    copy_heads(joined + a_.head_dim, 2 * a_.head_dim, gate, a_.head_dim);
  }
  void join(const float* query, const float* gate, float* joined) const {
    copy_heads(query, a_.head_dim, joined, 2 * a_.head_dim);
    copy_heads(gate, a_.head_dim, joined + a_.head_dim, 2 * a_.head_dim);
  }

  // out [T, Hq, D] = mixed * sigmoid(gate).
  void apply_gate(const float* mixed, const float* gate, float* out) const {
    const int64_t width = query_width();
    copy_rows(pass_, width, mixed, out);
    pass_.run.ops.sigmoid_gate({out, gate, pass_.tokens(), width, width}, pass_.run.context);
  }

 private:
  void copy_heads(const float* x, int64_t x_stride, float* out, int64_t out_stride) const {
    pass_.run.ops.copy_rows({.x = x,
                             .out = out,
                             .rows = pass_.tokens() * a_.heads,
                             .width = a_.head_dim,
                             .x_stride = x_stride,
                             .out_stride = out_stride},
                            pass_.run.context);
  }

  const TrainingPass& pass_;
  const AttentionConfig& a_;
  const AttentionActivations& saved_;
};

}  // namespace

void attention_training_forward(const TrainingPass& pass, const AttentionWeights& weights,
                                const float* x, AttentionActivations& saved, float* out) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const AttentionConfig& a = pass.config.attention;
  const int64_t tokens = pass.tokens(), length = pass.batch.length;
  Scope scope(context.workspace);
  ops.linear(weights.q_proj, x, tokens, saved.joined.data(), context);
  ops.linear(weights.k_proj, x, tokens, saved.keys.data(), context);
  ops.linear(weights.v_proj, x, tokens, saved.values.data(), context);
  const AttentionPass attention(pass, saved);
  const Heads heads = attention.heads(weights, scope);
  for (int64_t sequence = 0; sequence < pass.batch.sequences; ++sequence) {
    const int64_t query = sequence * length * attention.query_width();
    const int64_t key = sequence * length * attention.kv_width();
    ops.causal_attention({.q = heads.query.data() + query,
                          .keys = heads.keys.data() + key,
                          .values = saved.values.data() + key,
                          .out = saved.mixed.data() + query,
                          .tokens = length,
                          .context = length,
                          .heads = a.heads,
                          .kv_heads = a.kv_heads,
                          .head_dim = a.head_dim,
                          .scale = attention.scale()},
                         context);
  }
  attention.apply_gate(saved.mixed.data(), heads.gate.data(), heads.raw_query.data());
  ops.linear(weights.o_proj, heads.raw_query.data(), tokens, out, context);
}

void attention_training_backward(const TrainingPass& pass, const AttentionWeights& weights,
                                 AttentionActivations& saved, const PartGradients& gradients) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const AttentionConfig& a = pass.config.attention;
  const int64_t tokens = pass.tokens();
  Scope scope(context.workspace);
  const AttentionPass attention(pass, saved);
  const int64_t query_width = attention.query_width(), kv_width = attention.kv_width();
  const Heads heads = attention.heads(weights, scope);
  const auto gated = take_floats(scope, tokens * query_width);
  const auto d_mixed = take_floats(scope, tokens * query_width);
  const auto dq = take_floats(scope, tokens * query_width);
  const auto dk = take_floats(scope, tokens * kv_width);
  const auto dv = take_floats(scope, tokens * kv_width);

  attention.apply_gate(saved.mixed.data(), heads.gate.data(), gated.data());
  ops.linear_backward_input(weights.o_proj, {gradients.d_out, d_mixed.data(), tokens, false},
                            context);
  const auto d_gate = heads.gate;
  ops.sigmoid_gate_backward({.x = saved.mixed.data(),
                             .gate = heads.gate.data(),
                             .d_out = d_mixed.data(),
                             .dx = d_mixed.data(),
                             .d_gate = d_gate.data(),
                             .rows = tokens,
                             .width = query_width,
                             .gate_width = query_width},
                            context);
  ops.causal_attention_backward({.q = heads.query.data(),
                                 .keys = heads.keys.data(),
                                 .values = saved.values.data(),
                                 .d_out = d_mixed.data(),
                                 .dq = dq.data(),
                                 .d_keys = dk.data(),
                                 .d_values = dv.data(),
                                 .sequences = pass.batch.sequences,
                                 .tokens = pass.batch.length,
                                 .heads = a.heads,
                                 .kv_heads = a.kv_heads,
                                 .head_dim = a.head_dim,
                                 .scale = attention.scale()},
                                context);
  ops.rotary_embedding_backward(attention.rotary(dq.data(), a.heads), context);
  ops.rotary_embedding_backward(attention.rotary(dk.data(), a.kv_heads), context);
  VectorGradients* vectors = gradients.wanted.vectors;
  const auto norm_backward = [&](const float* raw, const ParameterVector& weight,
                                 std::span<float> d, int64_t n_heads, float* d_weight) {
    ops.zero_centered_rms_norm_backward({.x = raw,
                                         .weight = weight.data(),
                                         .dy = d.data(),
                                         .dx = d.data(),
                                         .d_weight = d_weight,
                                         .shape = attention.norm_shape(n_heads)},
                                        context);
  };
  norm_backward(heads.raw_query.data(), weights.q_norm, dq, a.heads,
                zeros(pass, vectors ? &vectors->q_norm : nullptr, weights.q_norm.size()));
  norm_backward(saved.keys.data(), weights.k_norm, dk, a.kv_heads,
                zeros(pass, vectors ? &vectors->k_norm : nullptr, weights.k_norm.size()));
  attention.join(dq.data(), d_gate.data(), saved.joined.data());

  if (gradients.dx != nullptr) {
    const auto add_dx = [&](const ops::Weight& weight, const float* dy, bool add) {
      ops.linear_backward_input(weight, {dy, gradients.dx, tokens, add}, context);
    };
    add_dx(weights.q_proj, saved.joined.data(), false);
    add_dx(weights.k_proj, dk.data(), true);
    add_dx(weights.v_proj, dv.data(), true);
  }
  GradientJobs jobs(pass, gradients.wanted);
  jobs.add({Role::q_proj}, weights.q_proj, gradients.x, saved.joined.data());
  jobs.add({Role::k_proj}, weights.k_proj, gradients.x, dk.data());
  jobs.add({Role::v_proj}, weights.v_proj, gradients.x, dv.data());
  jobs.add({Role::o_proj}, weights.o_proj, gated.data(), gradients.d_out);
  jobs.run();
}

}  // namespace qround
