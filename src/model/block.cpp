// The mathematics of a decoder block in order. Shapes are in ops/README.md's letters.
#include "model/block.h"

#include <cmath>
#include <vector>

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

std::span<float> take(Scope& scope, int64_t count) {
  return scope.take<float>(static_cast<size_t>(count));
}

// Columns [first, first + width) of every row of x, whose rows are x_stride floats.
void copy_columns(const Executor& run, const float* x, int64_t rows, int64_t x_stride,
                  int64_t first, int64_t width, float* out) {
  run.ops.copy_rows({.x = x + first,
                     .out = out,
                     .rows = rows,
                     .width = width,
                     .x_stride = x_stride,
                     .out_stride = width},
                    run.context);
}

// out [T, H] = attention(x), x [T, H] normed.
void attention_forward(const ModelConfig& config, const AttentionWeights& w, int64_t layer,
                       const BatchView& batch, const float* x, float* out, const Executor& run) {
  const AttentionConfig& a = config.attention;
  const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
  const int64_t tokens = batch.rows();
  Scope scope(run.context.workspace);
  const auto joined = take(scope, tokens * 2 * query_width);
  const auto query = take(scope, tokens * query_width);
  const auto gate = take(scope, tokens * query_width);
  run.ops.linear(w.q_proj, x, tokens, joined.data(), run.context);
  // Per head, q_proj gives D values of the query, then D of the gate.
  copy_columns(run, joined.data(), tokens * a.heads, 2 * a.head_dim, 0, a.head_dim, query.data());
  copy_columns(run, joined.data(), tokens * a.heads, 2 * a.head_dim, a.head_dim, a.head_dim,
               gate.data());
  const auto keys = take(scope, tokens * kv_width);
  const auto values = take(scope, tokens * kv_width);
  run.ops.linear(w.k_proj, x, tokens, keys.data(), run.context);
  run.ops.linear(w.v_proj, x, tokens, values.data(), run.context);

  const auto norm = [&](float* rows, int64_t heads, const ParameterVector& gain) {
    run.ops.zero_centered_rms_norm(rows, gain.data(), {tokens * heads, a.head_dim, config.norm_eps},
                                   rows, run.context);
  };
  norm(query.data(), a.heads, w.q_norm);
  norm(keys.data(), a.kv_heads, w.k_norm);
  const auto rotate = [&](float* rows, int64_t heads) {
    run.ops.rotary_embedding({.x = rows,
                              .positions = batch.positions,
                              .inverse_frequencies = batch.inverse_frequencies,
                              .tokens = tokens,
                              .heads = heads,
                              .head_dim = a.head_dim,
                              .rotary_dim = a.rotary_dim},
                             run.context);
  };
  rotate(query.data(), a.heads);
  rotate(keys.data(), a.kv_heads);

  const auto mixed = take(scope, tokens * query_width);
  const int64_t layer_floats = 2 * ops::kKvPageTokens * kv_width;  // of a page
  const int64_t key_offset = layer * layer_floats, value_offset = key_offset + layer_floats / 2;
  run.ops.store_keys_values({.batch = batch.sequences,
                             .keys = keys.data(),
                             .values = values.data(),
                             .row = kv_width,
                             .key_offset = key_offset,
                             .value_offset = value_offset},
                            run.context);
  run.ops.sequence_attention({.batch = batch.sequences,
                              .q = query.data(),
                              .out = mixed.data(),
                              .key_offset = key_offset,
                              .value_offset = value_offset,
                              .heads = a.heads,
                              .kv_heads = a.kv_heads,
                              .head_dim = a.head_dim,
                              .scale = 1.0f / std::sqrt(static_cast<float>(a.head_dim))},
                             run.context);
  run.ops.sigmoid_gate({mixed.data(), gate.data(), tokens, query_width, query_width}, run.context);
  run.ops.linear(w.o_proj, mixed.data(), tokens, out, run.context);
}

// out [T, H] = DeltaNet(x), x [T, H] normed.
void delta_net_forward(const ModelConfig& config, const DeltaNetWeights& w, int64_t layer,
                       const BatchView& batch, const float* x, float* out, const Executor& run) {
  const DeltaNetConfig& d = config.delta_net;
  const int64_t channels = d.conv_channels(), key_width = d.key_width(),
                value_width = d.value_width(), tokens = batch.rows();
  const ops::DeltaNetLayer place{delta_net_shape(config), layer};
  Scope scope(run.context.workspace);
  const auto project = [&](const ops::Weight& weight) {
    const auto projected = take(scope, tokens * ops::outputs(weight));
    run.ops.linear(weight, x, tokens, projected.data(), run.context);
    return projected;
  };
  const auto qkv = project(w.in_proj_qkv);
  const auto z = project(w.in_proj_z);
  const auto b = project(w.in_proj_b);
  const auto a = project(w.in_proj_a);

  const auto mixed = take(scope, tokens * channels);
  run.ops.sequence_convolution({.batch = batch.sequences,
                                .layer = place,
                                .u = qkv.data(),
                                .weight = w.conv1d.data(),
                                .out = mixed.data()},
                               run.context);
  const auto q = take(scope, tokens * key_width);
  const auto k = take(scope, tokens * key_width);
  copy_columns(run, mixed.data(), tokens, channels, 0, key_width, q.data());
  copy_columns(run, mixed.data(), tokens, channels, key_width, key_width, k.data());
  const int64_t key_rows = tokens * d.key_heads;
  run.ops.l2_norm(q.data(), key_rows, d.key_dim, 1.0f / std::sqrt(static_cast<float>(d.key_dim)),
                  q.data(), run.context);
  run.ops.l2_norm(k.data(), key_rows, d.key_dim, 1.0f, k.data(), run.context);

  const auto log_decay = take(scope, tokens * d.value_heads);
  const auto beta = take(scope, tokens * d.value_heads);
  run.ops.delta_rule_gates({.a = a.data(),
                            .b = b.data(),
                            .a_log = w.a_log.data(),
                            .dt_bias = w.dt_bias.data(),
                            .log_decay = log_decay.data(),
                            .beta = beta.data(),
                            .tokens = tokens,
                            .value_heads = d.value_heads},
                           run.context);
  const auto read = take(scope, tokens * value_width);
  run.ops.sequence_delta_rule({.batch = batch.sequences,
                               .layer = place,
                               .q = q.data(),
                               .k = k.data(),
                               .v = mixed.data() + 2 * key_width,
                               .log_decay = log_decay.data(),
                               .beta = beta.data(),
                               .out = read.data(),
                               .v_stride = channels},
                              run.context);
  run.ops.gated_rms_norm(read.data(), z.data(), w.norm.data(),
                         {tokens * d.value_heads, d.value_dim, config.norm_eps}, read.data(),
                         run.context);
  run.ops.linear(w.out_proj, read.data(), tokens, out, run.context);
}

void swiglu_forward(const ops::SwigluWeights& w, int64_t tokens, const float* x, float* out,
                    const Executor& run) {
  Scope scope(run.context.workspace);
  const int64_t width = ops::outputs(w.gate);
  const auto gate = take(scope, tokens * width);
  const auto up = take(scope, tokens * width);
  run.ops.linear(w.gate, x, tokens, gate.data(), run.context);
  run.ops.linear(w.up, x, tokens, up.data(), run.context);
  run.ops.swiglu(gate.data(), up.data(), tokens * width, gate.data(), run.context);
  run.ops.linear(w.down, gate.data(), tokens, out, run.context);
}

void tell_route(std::span<const int32_t> chosen, const Executor& run) {
  if (run.ops.memory->is_host) return (*run.on_route)(chosen);
  std::vector<int32_t> on_host(chosen.size());
  run.ops.memory->download(on_host.data(), chosen.data(), chosen.size_bytes(), run.context.stream);
  (*run.on_route)(on_host);
}

// out [T, H] = sum of the chosen experts' outputs + sigmoid(shared gate) * shared expert.
void moe_forward(const ModelConfig& config, const MoeWeights& w, int64_t tokens, const float* x,
                 float* out, const Executor& run) {
  const MoeConfig& moe = *config.moe;
  Scope scope(run.context.workspace);
  const auto logits = take(scope, tokens * moe.experts);
  const auto chosen = scope.take<int32_t>(static_cast<size_t>(tokens * moe.chosen));
  const auto weights = take(scope, tokens * moe.chosen);
  run.ops.linear(w.router, x, tokens, logits.data(), run.context.exact());
  run.ops.route({.logits = logits.data(),
                 .experts = chosen.data(),
                 .weights = weights.data(),
                 .tokens = tokens,
                 .n_experts = moe.experts,
                 .n_chosen = moe.chosen},
                run.context);
  if (run.on_route != nullptr) tell_route(chosen, run);
  run.ops.experts({.x = x,
                   .experts = chosen.data(),
                   .weights = weights.data(),
                   .expert_weights = w.experts,
                   .out = out,
                   .tokens = tokens,
                   .hidden = config.hidden,
                   .n_chosen = moe.chosen},
                  run.context);

  const auto shared = take(scope, tokens * config.hidden);
  const auto gate = take(scope, tokens);
  swiglu_forward(w.shared, tokens, x, shared.data(), run);
  run.ops.linear(w.shared_expert_gate, x, tokens, gate.data(), run.context);
  run.ops.sigmoid_gate({shared.data(), gate.data(), tokens, config.hidden, 1}, run.context);
  run.ops.add(shared.data(), out, tokens * config.hidden, run.context);
}

}  // namespace

void block_forward(const ModelConfig& config, const BlockWeights& weights, int64_t mixer_index,
                   const BatchView& batch, float* hidden, const Executor& executor) {
  const int64_t tokens = batch.rows();
  const int64_t count = tokens * config.hidden;
  const ops::RmsNormShape rows{tokens, config.hidden, config.norm_eps};
  Scope scope(executor.context.workspace);
  const auto normed = take(scope, count);
  const auto change = take(scope, count);

  executor.ops.zero_centered_rms_norm(hidden, weights.input_norm.data(), rows, normed.data(),
                                      executor.context);
  if (const auto* attention = std::get_if<AttentionWeights>(&weights.mixer)) {
    attention_forward(config, *attention, mixer_index, batch, normed.data(), change.data(),
                      executor);
  } else {
    delta_net_forward(config, std::get<DeltaNetWeights>(weights.mixer), mixer_index, batch,
                      normed.data(), change.data(), executor);
  }
  executor.ops.add(change.data(), hidden, count, executor.context);

  executor.ops.zero_centered_rms_norm(hidden, weights.post_attention_norm.data(), rows,
                                      normed.data(), executor.context);
  if (const auto* moe = std::get_if<MoeWeights>(&weights.feed_forward)) {
    moe_forward(config, *moe, tokens, normed.data(), change.data(), executor);
  } else {
    swiglu_forward(std::get<ops::SwigluWeights>(weights.feed_forward), tokens, normed.data(),
                   change.data(), executor);
  }
  executor.ops.add(change.data(), hidden, count, executor.context);
}

void settle_delta_net(const ModelConfig& config, int64_t mixer_index, const BatchView& batch,
                      const Executor& executor) {
  const ops::DeltaNetLayer place{delta_net_shape(config), mixer_index};
  executor.ops.sequence_convolution({.batch = batch.sequences, .layer = place}, executor.context);
  executor.ops.sequence_delta_rule({.batch = batch.sequences, .layer = place}, executor.context);
}

}  // namespace qround
