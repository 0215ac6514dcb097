// Gated DeltaNet in training (block.cpp's delta_net_forward for a batch, and its gradient).
#include <cmath>

#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

// Some sequences of the batch: rows [first, first + tokens).
struct Stretch {
  int64_t first = 0, sequences = 0, tokens = 0;
};

std::vector<Stretch> stretches(TrainingBatch batch) {
  const int64_t at_once =
      std::clamp<int64_t>(kTokensAtOnce / batch.length, 1, std::max<int64_t>(1, batch.sequences));
  std::vector<Stretch> all;
  for (int64_t sequence = 0; sequence < batch.sequences; sequence += at_once) {
    const int64_t n = std::min(at_once, batch.sequences - sequence);
    all.push_back({sequence * batch.length, n, n * batch.length});
  }
  return all;
}

// Everything the recurrence reads, for a stretch. Row 0 is the stretch's first.
struct RuleInputs {
  std::span<float> convolved;        // [tokens, C]: q | k | v
  std::span<float> q, k;             // [tokens, Hk, Dk], normed
  std::span<float> log_decay, beta;  // [tokens, Hv]
};

class DeltaNetPass {
 public:
  DeltaNetPass(const TrainingPass& pass, const DeltaNetWeights& weights)
      : pass_(pass), weights_(weights), d_(pass.config.delta_net) {}

  int64_t channels() const { return d_.conv_channels(); }
  int64_t key_width() const { return d_.key_width(); }
  int64_t value_width() const { return d_.value_width(); }
  float query_scale() const { return 1.0f / std::sqrt(static_cast<float>(d_.key_dim)); }
  ops::RmsNormShape norm_shape() const {
    return {pass_.tokens() * d_.value_heads, d_.value_dim, pass_.config.norm_eps};
  }

  RuleInputs rule_inputs(const DeltaNetActivations& saved, Stretch at, Scope& scope) const {
    const RuleInputs in{
        take_floats(scope, at.tokens * channels()), take_floats(scope, at.tokens * key_width()),
        take_floats(scope, at.tokens * key_width()), take_floats(scope, at.tokens * d_.value_heads),
        take_floats(scope, at.tokens * d_.value_heads)};
    const ops::OpTable& ops = pass_.run.ops;
    const ops::OpContext& context = pass_.run.context;
    convolve(saved.qkv.data() + at.first * channels(), at, in.convolved.data());
    const auto copy_key_columns = [&](const float* x, float* out) {
      ops.copy_rows({.x = x,
                     .out = out,
                     .rows = at.tokens,
                     .width = key_width(),
                     .x_stride = channels(),
                     .out_stride = key_width()},
                    context);
    };
    copy_key_columns(in.convolved.data(), in.q.data());
    copy_key_columns(in.convolved.data() + key_width(), in.k.data());
    const int64_t rows = at.tokens * d_.key_heads;
    ops.l2_norm(in.q.data(), rows, d_.key_dim, query_scale(), in.q.data(), context);
    ops.l2_norm(in.k.data(), rows, d_.key_dim, 1.0f, in.k.data(), context);
    ops.delta_rule_gates({.a = saved.a.data() + at.first * d_.value_heads,
                          .b = saved.b.data() + at.first * d_.value_heads,
                          .a_log = weights_.a_log.data(),
                          .dt_bias = weights_.dt_bias.data(),
                          .log_decay = in.log_decay.data(),
                          .beta = in.beta.data(),
                          .tokens = at.tokens,
                          .value_heads = d_.value_heads},
                         context);
    return in;
  }

  // read [tokens, Hv, Dv] of the stretch.
  void recurrence(const RuleInputs& in, Stretch at, float* read) const {
    Scope scope(pass_.run.context.workspace);
    const auto states =
        take_floats(scope, at.sequences * d_.value_heads * d_.key_dim * d_.value_dim);
    fill_zero(states);
    pass_.run.ops.gated_delta_rule({.q = in.q.data(),
                                    .k = in.k.data(),
                                    .v = in.convolved.data() + 2 * key_width(),
                                    .log_decay = in.log_decay.data(),
                                    .beta = in.beta.data(),
                                    .state = states.data(),
                                    .out = read,
                                    .sequences = at.sequences,
                                    .tokens = pass_.batch.length,
                                    .key_heads = d_.key_heads,
                                    .value_heads = d_.value_heads,
                                    .key_dim = d_.key_dim,
                                    .value_dim = d_.value_dim,
                                    .q_stride = key_width(),
                                    .k_stride = key_width(),
                                    .v_stride = channels()},
                                   pass_.run.context);
  }

  // Gradient of a stretch, from d_read to the projections: saved.qkv, saved.b and saved.a become
  // their gradients.
  void stretch_backward(DeltaNetActivations& saved, Stretch at, const float* d_read,
                        VectorGradients* vectors) const {
    const ops::OpTable& ops = pass_.run.ops;
    const ops::OpContext& context = pass_.run.context;
    Scope scope(context.workspace);
    const RuleInputs in = rule_inputs(saved, at, scope);
    const auto d_convolved = take_floats(scope, at.tokens * channels());
    const auto d_log_decay = take_floats(scope, at.tokens * d_.value_heads);
    const auto d_beta = take_floats(scope, at.tokens * d_.value_heads);
    float* dq = d_convolved.data();
    float* dk = dq + key_width();
    ops.gated_delta_rule_backward({.q = in.q.data(),
                                   .k = in.k.data(),
                                   .v = in.convolved.data() + 2 * key_width(),
                                   .log_decay = in.log_decay.data(),
                                   .beta = in.beta.data(),
                                   .d_out = d_read,
                                   .dq = dq,
                                   .dk = dk,
                                   .dv = dq + 2 * key_width(),
                                   .d_log_decay = d_log_decay.data(),
                                   .d_beta = d_beta.data(),
                                   .sequences = at.sequences,
                                   .tokens = pass_.batch.length,
                                   .key_heads = d_.key_heads,
                                   .value_heads = d_.value_heads,
                                   .key_dim = d_.key_dim,
                                   .value_dim = d_.value_dim,
                                   .q_stride = key_width(),
                                   .k_stride = key_width(),
                                   .v_stride = channels(),
                                   .dq_stride = channels(),
                                   .dk_stride = channels(),
                                   .dv_stride = channels()},
                                  context);
    const auto norm_backward = [&](const float* x, float* d, float norm_scale) {
      ops.l2_norm_backward({.x = x,
                            .dy = d,
                            .dx = d,
                            .tokens = at.tokens,
                            .heads = d_.key_heads,
                            .width = d_.key_dim,
                            .x_stride = channels(),
                            .dy_stride = channels(),
                            .dx_stride = channels(),
                            .scale = norm_scale},
                           context);
    };
    norm_backward(in.convolved.data(), dq, query_scale());
    norm_backward(in.convolved.data() + key_width(), dk, 1.0f);
    float* qkv = saved.qkv.data() + at.first * channels();
    ops.causal_conv1d_silu_backward({.u = qkv,
                                     .weight = weights_.conv1d.data(),
                                     .d_out = d_convolved.data(),
                                     .du = qkv,
                                     .d_weight = vectors ? vectors->conv1d.data() : nullptr,
                                     .sequences = at.sequences,
                                     .tokens = pass_.batch.length,
                                     .channels = channels(),
                                     .taps = d_.conv_taps},
                                    context);
    float* a = saved.a.data() + at.first * d_.value_heads;
    float* b = saved.b.data() + at.first * d_.value_heads;
    ops.delta_rule_gates_backward({.a = a,
                                   .b = b,
                                   .a_log = weights_.a_log.data(),
                                   .dt_bias = weights_.dt_bias.data(),
                                   .d_log_decay = d_log_decay.data(),
                                   .d_beta = d_beta.data(),
                                   .da = a,
                                   .db = b,
                                   .d_a_log = vectors ? vectors->a_log.data() : nullptr,
                                   .d_dt_bias = vectors ? vectors->dt_bias.data() : nullptr,
                                   .tokens = at.tokens,
                                   .value_heads = d_.value_heads},
                                  context);
  }

 private:
  void fill_zero(std::span<float> values) const {
    pass_.run.ops.memory->fill_zero(values.data(), values.size_bytes(), pass_.run.context.stream);
  }

  void convolve(const float* qkv, Stretch at, float* out) const {
    Scope scope(pass_.run.context.workspace);
    const auto history = take_floats(scope, (d_.conv_taps - 1) * channels());
    const int64_t length = pass_.batch.length;
    for (int64_t row = 0; row < at.tokens; row += length) {
      fill_zero(history);
      pass_.run.ops.causal_conv1d_silu({.u = qkv + row * channels(),
                                        .weight = weights_.conv1d.data(),
                                        .history = history.data(),
                                        .out = out + row * channels(),
                                        .tokens = length,
                                        .channels = channels(),
                                        .taps = d_.conv_taps},
                                       pass_.run.context);
    }
  }

  const TrainingPass& pass_;
  const DeltaNetWeights& weights_;
  const DeltaNetConfig& d_;
};

}  // namespace

void delta_net_training_forward(const TrainingPass& pass, const DeltaNetWeights& weights,
                                const float* x, DeltaNetActivations& saved, float* out) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens();
  ops.linear(weights.in_proj_qkv, x, tokens, saved.qkv.data(), context);
  ops.linear(weights.in_proj_z, x, tokens, saved.z.data(), context);
  ops.linear(weights.in_proj_b, x, tokens, saved.b.data(), context);
  ops.linear(weights.in_proj_a, x, tokens, saved.a.data(), context);
  const DeltaNetPass delta_net(pass, weights);
  for (const Stretch at : stretches(pass.batch)) {
    Scope scope(context.workspace);
    const RuleInputs in = delta_net.rule_inputs(saved, at, scope);
    delta_net.recurrence(in, at, saved.read.data() + at.first * delta_net.value_width());
  }
  Scope scope(context.workspace);
  const auto gated = take_floats(scope, tokens * delta_net.value_width());
  ops.gated_rms_norm(saved.read.data(), saved.z.data(), weights.norm.data(), delta_net.norm_shape(),
                     gated.data(), context);
  ops.linear(weights.out_proj, gated.data(), tokens, out, context);
}

void delta_net_training_backward(const TrainingPass& pass, const DeltaNetWeights& weights,
                                 DeltaNetActivations& saved, const PartGradients& gradients) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens();
  const DeltaNetPass delta_net(pass, weights);
  VectorGradients* vectors = gradients.wanted.vectors;
  if (vectors != nullptr) {
    zeros(pass, &vectors->conv1d, weights.conv1d.size());
    zeros(pass, &vectors->a_log, weights.a_log.size());
    zeros(pass, &vectors->dt_bias, weights.dt_bias.size());
    zeros(pass, &vectors->delta_net_norm, weights.norm.size());
  }
  Scope scope(context.workspace);
  const auto gated = take_floats(scope, tokens * delta_net.value_width());
  const auto d_read = take_floats(scope, tokens * delta_net.value_width());
  ops.gated_rms_norm(saved.read.data(), saved.z.data(), weights.norm.data(), delta_net.norm_shape(),
                     gated.data(), context);
  ops.linear_backward_input(weights.out_proj, {gradients.d_out, d_read.data(), tokens, false},
                            context);
  ops.gated_rms_norm_backward({.x = saved.read.data(),
                               .gate = saved.z.data(),
                               .weight = weights.norm.data(),
                               .dy = d_read.data(),
                               .dx = d_read.data(),
                               .d_gate = saved.z.data(),
                               .d_weight = vectors ? vectors->delta_net_norm.data() : nullptr,
                               .shape = delta_net.norm_shape()},
                              context);
  for (const Stretch at : stretches(pass.batch))
    delta_net.stretch_backward(saved, at, d_read.data() + at.first * delta_net.value_width(),
                               vectors);

  if (gradients.dx != nullptr) {
    const auto add_dx = [&](const ops::Weight& weight, const ops::Buffer<float>& dy, bool add) {
      ops.linear_backward_input(weight, {dy.data(), gradients.dx, tokens, add}, context);
    };
    add_dx(weights.in_proj_qkv, saved.qkv, false);
    add_dx(weights.in_proj_z, saved.z, true);
    add_dx(weights.in_proj_b, saved.b, true);
    add_dx(weights.in_proj_a, saved.a, true);
  }
  GradientJobs jobs(pass, gradients.wanted);
  jobs.add({Role::in_proj_qkv}, weights.in_proj_qkv, gradients.x, saved.qkv.data());
  jobs.add({Role::in_proj_z}, weights.in_proj_z, gradients.x, saved.z.data());
  jobs.add({Role::in_proj_b}, weights.in_proj_b, gradients.x, saved.b.data());
  jobs.add({Role::in_proj_a}, weights.in_proj_a, gradients.x, saved.a.data());
  jobs.add({Role::out_proj}, weights.out_proj, gated.data(), gradients.d_out);
  jobs.run();
}

}  // namespace qround
