// The feed-forward half in training: mixture of experts with its shared expert, or one dense
// SwiGLU.
#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

// The gradient of a SwiGLU's inner maps, from d_hidden = dL/d(silu(gate) * up): the saved outputs
// become their gradients, dx [T, H] is overwritten.
void inner_backward(const TrainingPass& pass, const ops::SwigluWeights& weights,
                    std::span<float> d_hidden, SwigluActivations& saved, float* dx) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  ops.swiglu_backward({.gate = saved.gate.data(),
                       .up = saved.up.data(),
                       .d_out = d_hidden.data(),
                       .d_gate = saved.gate.data(),
                       .d_up = saved.up.data(),
                       .count = static_cast<int64_t>(d_hidden.size())},
                      context);
  ops.linear_backward_input(weights.gate, {saved.gate.data(), dx, pass.tokens(), false}, context);
  ops.linear_backward_input(weights.up, {saved.up.data(), dx, pass.tokens(), true}, context);
}

void route(const TrainingPass& pass, const MoeWeights& weights, const float* x,
           MoeActivations& saved) {
  const MoeConfig& moe = *pass.config.moe;
  const ops::OpContext& context = pass.run.context;
  Scope scope(context.workspace);
  const auto logits = take_floats(scope, pass.tokens() * moe.experts);
  pass.run.ops.linear(weights.router, x, pass.tokens(), logits.data(), context.exact());
  pass.run.ops.route({.logits = logits.data(),
                      .experts = saved.chosen.data(),
                      .weights = saved.weights.data(),
                      .tokens = pass.tokens(),
                      .n_experts = moe.experts,
                      .n_chosen = moe.chosen},
                     context);
  pass.run.ops.group_by_expert({.experts = saved.chosen.data(),
                                .groups = saved.groups(),
                                .totals = saved.totals.data(),
                                .tokens = pass.tokens(),
                                .n_experts = moe.experts,
                                .n_chosen = moe.chosen},
                               context);
}

// dx += what flows through the router; d_weights [T, A].
void router_backward(const TrainingPass& pass, const MoeWeights& weights,
                     const MoeActivations& saved, std::span<const float> d_weights,
                     const PartGradients& gradients) {
  const MoeConfig& moe = *pass.config.moe;
  const ops::OpContext& context = pass.run.context;
  Scope scope(context.workspace);
  const auto d_logits = take_floats(scope, pass.tokens() * moe.experts);
  pass.run.ops.route_backward({.experts = saved.chosen.data(),
                               .weights = saved.weights.data(),
                               .d_weights = d_weights.data(),
                               .d_logits = d_logits.data(),
                               .tokens = pass.tokens(),
                               .n_experts = moe.experts,
                               .n_chosen = moe.chosen},
                              context);
  pass.run.ops.linear_backward_input(weights.router,
                                     {d_logits.data(), gradients.dx, pass.tokens(), true}, context);
  GradientJobs jobs(pass, gradients.wanted);
  jobs.add({Role::router}, weights.router, gradients.x, d_logits.data());
  jobs.run();
}

// dx = what flows through the shared expert and its gate.
void shared_backward(const TrainingPass& pass, const MoeWeights& weights, MoeActivations& saved,
                     const PartGradients& gradients) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens(), width = pass.config.moe->shared_width;
  Scope scope(context.workspace);
  const auto hidden = take_floats(scope, tokens * width);
  const auto d_hidden = take_floats(scope, tokens * width);
  const auto d_gate = take_floats(scope, tokens);
  ops.swiglu(saved.shared.gate.data(), saved.shared.up.data(), tokens * width, hidden.data(),
             context);
  ops.linear_backward_input(weights.shared.down, {gradients.d_out, d_hidden.data(), tokens, false},
                            context);
  // The gate scales the expert's output and so, as well, what enters its last map.
  ops.sigmoid_gate_backward({.x = hidden.data(),
                             .gate = saved.shared_gate.data(),
                             .d_out = d_hidden.data(),
                             .dx = d_hidden.data(),
                             .d_gate = d_gate.data(),
                             .rows = tokens,
                             .width = width,
                             .gate_width = 1},
                            context);
  inner_backward(pass, weights.shared, d_hidden, saved.shared, gradients.dx);
  ops.linear_backward_input(weights.shared_expert_gate, {d_gate.data(), gradients.dx, tokens, true},
                            context);
  GradientJobs jobs(pass, gradients.wanted);
  if (gradients.wanted.wants({Role::shared_down})) {
    ops.sigmoid_gate({hidden.data(), saved.shared_gate.data(), tokens, width, 1}, context);
    jobs.add({Role::shared_down}, weights.shared.down, hidden.data(), gradients.d_out);
  }
  jobs.add({Role::shared_gate}, weights.shared.gate, gradients.x, saved.shared.gate.data());
  jobs.add({Role::shared_up}, weights.shared.up, gradients.x, saved.shared.up.data());
  jobs.add({Role::shared_expert_gate}, weights.shared_expert_gate, gradients.x, d_gate.data());
  jobs.run();
}

constexpr Role kExpertRoles[] = {Role::expert_gate, Role::expert_up, Role::expert_down};

LinearId expert_linear(int64_t matrix) { return {kExpertRoles[matrix % 3], matrix / 3}; }

// dx += what flows through the experts; d_weights [T, A] is written.
void experts_backward(const TrainingPass& pass, const MoeWeights& weights, MoeActivations& saved,
                      std::span<float> d_weights, const PartGradients& gradients) {
  std::vector<uint8_t> wanted(3 * weights.experts.size());
  for (size_t matrix = 0; matrix < wanted.size(); ++matrix)
    wanted[matrix] = gradients.wanted.wants(expert_linear(static_cast<int64_t>(matrix))) ? 1 : 0;
  const bool any = std::find(wanted.begin(), wanted.end(), 1) != wanted.end();
  const ops::WeightGradientConsumer consume = [&](const ops::WeightGradientTile& tile) {
    gradients.wanted.consume(expert_linear(tile.matrix), tile);
  };
  std::vector<ops::SignRoundTarget> targets;
  ops::SignRoundUpdate update;
  if (const BlockUpdate* of_block = gradients.wanted.update) {
    for (size_t matrix = 0; matrix < wanted.size(); ++matrix) {
      targets.push_back(wanted[matrix] == 0
                            ? ops::SignRoundTarget{}
                            : of_block->target(expert_linear(static_cast<int64_t>(matrix))));
    }
    update = {of_block->rule, of_block->sizes, targets};
  }
  const ops::WeightGradientSink sink = gradients.wanted.update == nullptr
                                           ? ops::WeightGradientSink{.consume = &consume}
                                           : ops::WeightGradientSink{.update = &update};
  const ops::ExpertGroups groups = saved.groups();
  pass.run.ops.grouped_experts_backward({.x = gradients.x,
                                         .groups = &groups,
                                         .weights = saved.weights.data(),
                                         .expert_weights = weights.experts,
                                         .gate = saved.experts.gate.data(),
                                         .up = saved.experts.up.data(),
                                         .d_out = gradients.d_out,
                                         .dx = gradients.dx,
                                         .d_weights = d_weights.data(),
                                         .sink = any ? &sink : nullptr,
                                         .wanted = wanted.data(),
                                         .tokens = pass.tokens(),
                                         .hidden = pass.config.hidden,
                                         .n_chosen = pass.config.moe->chosen},
                                        pass.run.context);
}

}  // namespace

void dense_training_forward(const TrainingPass& pass, const ops::SwigluWeights& weights,
                            const float* x, SwigluActivations& saved, float* out) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens(), count = tokens * ops::outputs(weights.gate);
  Scope scope(context.workspace);
  const auto hidden = take_floats(scope, count);
  ops.linear(weights.gate, x, tokens, saved.gate.data(), context);
  ops.linear(weights.up, x, tokens, saved.up.data(), context);
  ops.swiglu(saved.gate.data(), saved.up.data(), count, hidden.data(), context);
  ops.linear(weights.down, hidden.data(), tokens, out, context);
}

void dense_training_backward(const TrainingPass& pass, const ops::SwigluWeights& weights,
                             SwigluActivations& saved, const PartGradients& gradients) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens(), count = tokens * ops::outputs(weights.gate);
  Scope scope(context.workspace);
  const auto hidden = take_floats(scope, count);
  const auto d_hidden = take_floats(scope, count);
  ops.swiglu(saved.gate.data(), saved.up.data(), count, hidden.data(), context);
  ops.linear_backward_input(weights.down, {gradients.d_out, d_hidden.data(), tokens, false},
                            context);
  inner_backward(pass, weights, d_hidden, saved, gradients.dx);
  GradientJobs jobs(pass, gradients.wanted);
  jobs.add({Role::dense_gate}, weights.gate, gradients.x, saved.gate.data());
  jobs.add({Role::dense_up}, weights.up, gradients.x, saved.up.data());
  jobs.add({Role::dense_down}, weights.down, hidden.data(), gradients.d_out);
  jobs.run();
}

void moe_training_forward(const TrainingPass& pass, const MoeWeights& weights, const float* x,
                          MoeActivations& saved, float* out) {
  const ops::OpTable& ops = pass.run.ops;
  const ops::OpContext& context = pass.run.context;
  const int64_t tokens = pass.tokens(), hidden = pass.config.hidden;
  route(pass, weights, x, saved);
  const ops::ExpertGroups groups = saved.groups();
  ops.grouped_experts({.x = x,
                       .groups = &groups,
                       .weights = saved.weights.data(),
                       .expert_weights = weights.experts,
                       .gate = saved.experts.gate.data(),
                       .up = saved.experts.up.data(),
                       .out = out,
                       .tokens = tokens,
                       .hidden = hidden,
                       .n_chosen = pass.config.moe->chosen},
                      context);
  Scope scope(context.workspace);
  const auto shared = take_floats(scope, tokens * hidden);
  dense_training_forward(pass, weights.shared, x, saved.shared, shared.data());
  ops.linear(weights.shared_expert_gate, x, tokens, saved.shared_gate.data(), context);
  ops.sigmoid_gate({shared.data(), saved.shared_gate.data(), tokens, hidden, 1}, context);
  add_rows(pass, hidden, shared.data(), out);
}

void moe_training_backward(const TrainingPass& pass, const MoeWeights& weights,
                           MoeActivations& saved, const PartGradients& gradients) {
  Scope scope(pass.run.context.workspace);
  const auto d_weights = take_floats(scope, pass.tokens() * pass.config.moe->chosen);
  shared_backward(pass, weights, saved, gradients);
  experts_backward(pass, weights, saved, d_weights, gradients);
  router_backward(pass, weights, saved, d_weights, gradients);
}

}  // namespace qround
