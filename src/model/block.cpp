// The mathematics of a decoder block in order. Shapes are in ops/README.md's letters.
#include "model/block.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

void add(const float* x, int64_t count, float* sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

std::span<float> take(Scope& scope, int64_t count) {
  return scope.take<float>(static_cast<size_t>(count));
}

// Per head, q_proj gives D values of the query, then D of the gate.
void split_query_and_gate(const float* joined, int64_t heads_times_tokens, int64_t head_dim,
                          float* query, float* gate) {
  const auto bytes = static_cast<size_t>(head_dim) * sizeof(float);
  for (int64_t head = 0; head < heads_times_tokens; ++head) {
    std::memcpy(query + head * head_dim, joined + 2 * head * head_dim, bytes);
    std::memcpy(gate + head * head_dim, joined + (2 * head + 1) * head_dim, bytes);
  }
}

// Columns [first, first + width) of every row of x.
void copy_columns(const float* x, int64_t rows, int64_t stride, int64_t first, int64_t width,
                  float* out) {
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(out + row * width, x + row * stride + first,
                static_cast<size_t>(width) * sizeof(float));
  }
}

int64_t rows_of(std::span<const SequenceRows> batch) {
  int64_t rows = 0;
  for (const SequenceRows& of_sequence : batch) rows += of_sequence.tokens;
  return rows;
}

struct RotaryTables {
  std::span<int64_t> positions;          // [T]
  std::span<float> inverse_frequencies;  // [R/2]
};

RotaryTables rotary_tables(const AttentionConfig& a, std::span<const SequenceRows> batch,
                           Scope& scope) {
  const RotaryTables tables{scope.take<int64_t>(static_cast<size_t>(rows_of(batch))),
                            take(scope, a.rotary_dim / 2)};
  int64_t* position = tables.positions.data();
  for (const SequenceRows& rows : batch)
    for (int64_t t = 0; t < rows.tokens; ++t) *position++ = rows.first_position + t;
  for (size_t i = 0; i < tables.inverse_frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(a.rotary_dim);
    tables.inverse_frequencies[i] = static_cast<float>(1.0 / std::pow(a.rope_theta, exponent));
  }
  return tables;
}

// Appends keys and values [T, Hkv, D] of one sequence's rows to its pages.
void store_keys_and_values(const SequenceRows& rows, int64_t layer, int64_t kv_width,
                           const float* keys, const float* values) {
  KvPages& pages = rows.state->mutable_pages();
  const int64_t first = rows.state->tokens();
  for (int64_t t = 0; t < rows.tokens; ++t) {
    std::copy_n(keys + t * kv_width, kv_width, pages.key_row(layer, first + t));
    std::copy_n(values + t * kv_width, kv_width, pages.value_row(layer, first + t));
  }
}

// out [T, H] = attention(x), x [T, H] normed.
void attention_forward(const ModelConfig& config, const AttentionWeights& w, int64_t layer,
                       std::span<const SequenceRows> batch, const float* x, float* out,
                       const Executor& run) {
  const AttentionConfig& a = config.attention;
  const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
  const int64_t tokens = rows_of(batch);
  Scope scope(run.context.workspace);
  const auto joined = take(scope, tokens * 2 * query_width);
  const auto query = take(scope, tokens * query_width);
  const auto gate = take(scope, tokens * query_width);
  run.ops.linear(w.q_proj, x, tokens, joined.data(), run.context);
  split_query_and_gate(joined.data(), tokens * a.heads, a.head_dim, query.data(), gate.data());
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
  const RotaryTables tables = rotary_tables(a, batch, scope);
  const auto rotate = [&](float* rows, int64_t heads) {
    run.ops.rotary_embedding({.x = rows,
                              .positions = tables.positions.data(),
                              .inverse_frequencies = tables.inverse_frequencies.data(),
                              .tokens = tokens,
                              .heads = heads,
                              .head_dim = a.head_dim,
                              .rotary_dim = a.rotary_dim},
                             run.context);
  };
  rotate(query.data(), a.heads);
  rotate(keys.data(), a.kv_heads);

  const auto mixed = take(scope, tokens * query_width);
  int64_t row = 0;
  for (const SequenceRows& rows : batch) {
    store_keys_and_values(rows, layer, kv_width, keys.data() + row * kv_width,
                          values.data() + row * kv_width);
    const KvPages& pages = rows.state->pages();
    run.ops.causal_attention({.q = query.data() + row * query_width,
                              .pages = pages.data(),
                              .key_offset = pages.pool().key_offset(layer),
                              .value_offset = pages.pool().value_offset(layer),
                              .out = mixed.data() + row * query_width,
                              .tokens = rows.tokens,
                              .context = rows.state->tokens() + rows.tokens,
                              .heads = a.heads,
                              .kv_heads = a.kv_heads,
                              .head_dim = a.head_dim,
                              .scale = 1.0f / std::sqrt(static_cast<float>(a.head_dim))},
                             run.context);
    row += rows.tokens;
  }
  run.ops.sigmoid_gate({mixed.data(), gate.data(), tokens, query_width, query_width}, run.context);
  run.ops.linear(w.o_proj, mixed.data(), tokens, out, run.context);
}

// mixed [T, C] = convolution of u [T, C] after the state's history, which moves on unless the rows
// are tentative; then their inputs are kept.
void convolve_rows(const DeltaNetConfig& d, const DeltaNetWeights& w, const SequenceRows& rows,
                   DeltaNetState& state, const float* u, float* mixed, const Executor& run) {
  const int64_t channels = d.conv_channels();
  float* history = state.conv_history.data();
  Scope scope(run.context.workspace);
  if (rows.tentative) {
    const auto copy = take(scope, (d.conv_taps - 1) * channels);
    std::copy(state.conv_history.begin(), state.conv_history.end(), copy.begin());
    history = copy.data();
    std::copy_n(u, rows.tokens * channels, state.conv_inputs.data());
  }
  run.ops.causal_conv1d_silu({.u = u,
                              .weight = w.conv1d.data(),
                              .history = history,
                              .out = mixed,
                              .tokens = rows.tokens,
                              .channels = channels,
                              .taps = d.conv_taps},
                             run.context);
}

// What the delta rule reads and writes, of all rows of a batch.
struct DeltaRuleRows {
  const float *q = nullptr, *k = nullptr;             // [T, Hk, Dk]
  const float* v = nullptr;                           // [T, ...], rows of v_stride floats
  const float *log_decay = nullptr, *beta = nullptr;  // [T, Hv]
  float* out = nullptr;                               // [T, Hv, Dv]
  int64_t v_stride = 0;
};

ops::GatedDeltaRuleArgs delta_rule_args(const DeltaNetConfig& d, SequenceState& state,
                                        int64_t layer) {
  return {.state = state.delta_net(layer).recurrent.data(),
          .key_heads = d.key_heads,
          .value_heads = d.value_heads,
          .key_dim = d.key_dim,
          .value_dim = d.value_dim,
          .q_stride = d.key_width(),
          .k_stride = d.key_width(),
          .before = state.owed_updates(layer)};
}

// One sequence's rows, from row `first` of the batch on.
void run_delta_rule(const DeltaNetConfig& d, int64_t layer, const SequenceRows& rows, int64_t first,
                    const DeltaRuleRows& all, const Executor& run) {
  ops::GatedDeltaRuleArgs args = delta_rule_args(d, *rows.state, layer);
  args.q = all.q + first * d.key_width();
  args.k = all.k + first * d.key_width();
  args.v = all.v + first * all.v_stride;
  args.v_stride = all.v_stride;
  args.log_decay = all.log_decay + first * d.value_heads;
  args.beta = all.beta + first * d.value_heads;
  args.out = all.out + first * d.value_width();
  args.tokens = rows.tokens;
  if (rows.tentative) {
    TentativeRows& kept = rows.state->tentative_rows(layer);
    std::copy_n(args.k, rows.tokens * d.key_width(), kept.keys.data());
    args.change = kept.change.data();
    args.decay = kept.decay.data();
  }
  run.ops.gated_delta_rule(args, run.context);
}

// out [T, H] = DeltaNet(x), x [T, H] normed.
void delta_net_forward(const ModelConfig& config, const DeltaNetWeights& w, int64_t layer,
                       std::span<const SequenceRows> batch, const float* x, float* out,
                       const Executor& run) {
  const DeltaNetConfig& d = config.delta_net;
  const int64_t channels = d.conv_channels(), key_width = d.key_width(),
                value_width = d.value_width(), tokens = rows_of(batch);
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
  int64_t row = 0;
  for (const SequenceRows& rows : batch) {
    convolve_rows(d, w, rows, rows.state->delta_net(layer), qkv.data() + row * channels,
                  mixed.data() + row * channels, run);
    row += rows.tokens;
  }
  const auto q = take(scope, tokens * key_width);
  const auto k = take(scope, tokens * key_width);
  copy_columns(mixed.data(), tokens, channels, 0, key_width, q.data());
  copy_columns(mixed.data(), tokens, channels, key_width, key_width, k.data());
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
  row = 0;
  for (const SequenceRows& rows : batch) {
    run_delta_rule(d, layer, rows, row,
                   {.q = q.data(),
                    .k = k.data(),
                    .v = mixed.data() + 2 * key_width,
                    .log_decay = log_decay.data(),
                    .beta = beta.data(),
                    .out = read.data(),
                    .v_stride = channels},
                   run);
    row += rows.tokens;
  }
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

// out [T, H] = sum of the chosen experts' outputs + sigmoid(shared gate) * shared expert.
void moe_forward(const ModelConfig& config, const MoeWeights& w, int64_t tokens, const float* x,
                 float* out, const Executor& run) {
  const MoeConfig& moe = *config.moe;
  Scope scope(run.context.workspace);
  const auto logits = take(scope, tokens * moe.experts);
  const auto chosen = scope.take<int32_t>(static_cast<size_t>(tokens * moe.chosen));
  const auto weights = take(scope, tokens * moe.chosen);
  ops::OpContext exact = run.context;  // choices hang on small differences
  exact.activations = ops::Activations::f32;
  run.ops.linear(w.router, x, tokens, logits.data(), exact);
  run.ops.route({.logits = logits.data(),
                 .experts = chosen.data(),
                 .weights = weights.data(),
                 .tokens = tokens,
                 .n_experts = moe.experts,
                 .n_chosen = moe.chosen},
                run.context);
  if (run.on_route != nullptr) (*run.on_route)(chosen);
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
  add(shared.data(), tokens * config.hidden, out);
}

}  // namespace

void block_forward(const ModelConfig& config, const BlockWeights& weights, int64_t mixer_index,
                   std::span<const SequenceRows> batch, float* hidden, const Executor& executor) {
  const int64_t tokens = rows_of(batch);
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
  add(change.data(), count, hidden);

  executor.ops.zero_centered_rms_norm(hidden, weights.post_attention_norm.data(), rows,
                                      normed.data(), executor.context);
  if (const auto* moe = std::get_if<MoeWeights>(&weights.feed_forward)) {
    moe_forward(config, *moe, tokens, normed.data(), change.data(), executor);
  } else {
    swiglu_forward(std::get<ops::SwigluWeights>(weights.feed_forward), tokens, normed.data(),
                   change.data(), executor);
  }
  add(change.data(), count, hidden);
}

void settle_delta_net(const ModelConfig& config, int64_t mixer_index, SequenceState& state,
                      const Executor& executor) {
  executor.ops.gated_delta_rule(delta_rule_args(config.delta_net, state, mixer_index),
                                executor.context);
}

}  // namespace qround
