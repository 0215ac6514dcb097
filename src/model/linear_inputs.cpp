#include "model/linear_inputs.h"

#include <array>

#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

class Visit {
 public:
  Visit(const TrainingPass& pass, const LinearInputVisitor& visitor)
      : pass_(pass), visitor_(visitor) {}

  void attention(const float* x, const AttentionActivations& saved) const {
    const AttentionConfig& a = pass_.config.attention;
    const int64_t width = a.heads * a.head_dim;
    report({{Role::q_proj}, {Role::k_proj}, {Role::v_proj}}, x, pass_.config.hidden);
    Scope scope(context().workspace);
    const auto gate = take_floats(scope, pass_.tokens() * width);
    const auto gated = take_floats(scope, pass_.tokens() * width);
    // Per head D values of the query, then D of its gate.
    ops().copy_rows({.x = saved.joined.data() + a.head_dim,
                     .out = gate.data(),
                     .rows = pass_.tokens() * a.heads,
                     .width = a.head_dim,
                     .x_stride = 2 * a.head_dim,
                     .out_stride = a.head_dim},
                    context());
    copy_rows(pass_, width, saved.mixed.data(), gated.data());
    ops().sigmoid_gate({gated.data(), gate.data(), pass_.tokens(), width, width}, context());
    report({{Role::o_proj}}, gated.data(), width);
  }

  void delta_net(const DeltaNetWeights& weights, const float* x,
                 const DeltaNetActivations& saved) const {
    const DeltaNetConfig& d = pass_.config.delta_net;
    report({{Role::in_proj_qkv}, {Role::in_proj_z}, {Role::in_proj_b}, {Role::in_proj_a}}, x,
           pass_.config.hidden);
    Scope scope(context().workspace);
    const auto gated = take_floats(scope, pass_.tokens() * d.value_width());
    ops().gated_rms_norm(saved.read.data(), saved.z.data(), weights.norm.data(),
                         {pass_.tokens() * d.value_heads, d.value_dim, pass_.config.norm_eps},
                         gated.data(), context());
    report({{Role::out_proj}}, gated.data(), d.value_width());
  }

  void dense(const float* x, const SwigluActivations& saved) const {
    report({{Role::dense_gate}, {Role::dense_up}}, x, pass_.config.hidden);
    inner({Role::dense_down}, saved);
  }

  void experts(const float* x, const MoeActivations& saved) const {
    report({{Role::router}, {Role::shared_gate}, {Role::shared_up}, {Role::shared_expert_gate}}, x,
           pass_.config.hidden);
    inner({Role::shared_down}, saved.shared);
    const std::vector<int64_t> first_rows = saved.first_rows.to_vector(context().stream);
    // Room for every token: the memory a pass takes does not depend on the routing.
    Scope scope(context().workspace);
    const ExpertScratch scratch{
        take_floats(scope, pass_.tokens() * pass_.config.hidden).data(),
        take_floats(scope, pass_.tokens()).data(),
        take_floats(scope, pass_.tokens() * pass_.config.moe->expert_width).data()};
    for (size_t expert = 0; expert + 1 < first_rows.size(); ++expert)
      one_expert({static_cast<int64_t>(expert), first_rows[expert],
                  first_rows[expert + 1] - first_rows[expert]},
                 x, saved, scratch);
  }

 private:
  const ops::OpTable& ops() const { return pass_.run.ops; }
  const ops::OpContext& context() const { return pass_.run.context; }

  void report(std::initializer_list<LinearId> linears, const float* x, int64_t k) const {
    visitor_({{linears.begin(), linears.size()}, x, nullptr, pass_.tokens(), k});
  }

  // The last map of a SwiGLU.
  void inner(LinearId down, const SwigluActivations& saved) const {
    Scope scope(context().workspace);
    const auto count = static_cast<int64_t>(saved.gate.size());
    const auto hidden = take_floats(scope, count);
    ops().swiglu(saved.gate.data(), saved.up.data(), count, hidden.data(), context());
    report({down}, hidden.data(), count / pass_.tokens());
  }

  // An expert and its grouped rows [begin, begin + rows).
  struct ExpertPart {
    int64_t expert, begin, rows;
  };
  struct ExpertScratch {
    float* gathered;  // [T, H]
    float* weights;   // [T]
    float* hidden;    // [T, I]
  };

  void one_expert(const ExpertPart& part, const float* x, const MoeActivations& saved,
                  const ExpertScratch& scratch) const {
    const MoeConfig& moe = *pass_.config.moe;
    const int64_t width = pass_.config.hidden;
    const auto [expert, begin, rows] = part;
    if (rows == 0) return;
    const auto [gathered, weights, hidden] = scratch;
    const int32_t* choices = saved.choices.data() + begin;
    ops().gather_rows({.x = x,
                       .choices = choices,
                       .out = gathered,
                       .rows = rows,
                       .width = width,
                       .choices_per_row = moe.chosen},
                      context());
    ops().gather_rows(
        {.x = saved.weights.data(), .choices = choices, .out = weights, .rows = rows, .width = 1},
        context());
    const std::array<LinearId, 2> outer = {LinearId{Role::expert_gate, expert},
                                           LinearId{Role::expert_up, expert}};
    visitor_({outer, gathered, weights, rows, width});
    ops().swiglu(saved.experts.gate.data() + begin * moe.expert_width,
                 saved.experts.up.data() + begin * moe.expert_width, rows * moe.expert_width,
                 hidden, context());
    const LinearId down{Role::expert_down, expert};
    visitor_({{&down, 1}, hidden, weights, rows, moe.expert_width});
  }

  const TrainingPass& pass_;
  const LinearInputVisitor& visitor_;
};

}  // namespace

void visit_linear_inputs(const ModelConfig& config, const BlockWeights& weights,
                         const BlockTraining& training, const float* x,
                         const LinearInputVisitor& visit, const Executor& executor) {
  const TrainingPass pass{config, training.batch(), executor};
  const BlockActivations& saved = training.activations();
  const Visit visiting(pass, visit);
  const ops::RmsNormShape shape{pass.tokens(), config.hidden, config.norm_eps};
  Scope scope(executor.context.workspace);
  const auto normed = take_floats(scope, pass.tokens() * config.hidden);
  executor.ops.zero_centered_rms_norm(x, weights.input_norm.data(), shape, normed.data(),
                                      executor.context);
  if (const auto* attention = std::get_if<AttentionActivations>(&saved.mixer)) {
    visiting.attention(normed.data(), *attention);
  } else {
    visiting.delta_net(std::get<DeltaNetWeights>(weights.mixer), normed.data(),
                       std::get<DeltaNetActivations>(saved.mixer));
  }
  executor.ops.zero_centered_rms_norm(saved.middle.data(), weights.post_attention_norm.data(),
                                      shape, normed.data(), executor.context);
  if (const auto* moe = std::get_if<MoeActivations>(&saved.feed_forward)) {
    visiting.experts(normed.data(), *moe);
  } else {
    visiting.dense(normed.data(), std::get<SwigluActivations>(saved.feed_forward));
  }
}

}  // namespace qround
