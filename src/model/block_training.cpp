#include "model/block_training.h"

#include <cmath>

#include "model/training_memory.h"
#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

std::vector<int64_t> positions(TrainingBatch batch) {
  std::vector<int64_t> values(static_cast<size_t>(batch.tokens()));
  for (size_t t = 0; t < values.size(); ++t) values[t] = static_cast<int64_t>(t) % batch.length;
  return values;
}

std::vector<float> inverse_frequencies(const AttentionConfig& a) {
  std::vector<float> values(static_cast<size_t>(a.rotary_dim / 2));
  for (size_t i = 0; i < values.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(a.rotary_dim);
    values[i] = static_cast<float>(1.0 / std::pow(a.rope_theta, exponent));
  }
  return values;
}

// Makes the arrays of a block's activations.
class ActivationMaker {
 public:
  ActivationMaker(const ops::Memory& memory, TrainingBatch batch)
      : memory_(memory), batch_(batch) {}

  ops::Buffer<float> rows(int64_t width) const { return rows(batch_.tokens(), width); }

  AttentionActivations attention(const AttentionConfig& a) const {
    const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
    return {.joined = rows(2 * query_width),
            .keys = rows(kv_width),
            .values = rows(kv_width),
            .mixed = rows(query_width),
            .positions = {memory_, std::span<const int64_t>(positions(batch_))},
            .inverse_frequencies = {memory_, std::span<const float>(inverse_frequencies(a))}};
  }

  DeltaNetActivations delta_net(const DeltaNetConfig& d) const {
    return {.qkv = rows(d.conv_channels()),
            .z = rows(d.value_width()),
            .b = rows(d.value_heads),
            .a = rows(d.value_heads),
            .read = rows(d.value_width())};
  }

  SwigluActivations swiglu(int64_t n_rows, int64_t width) const {
    return {.gate = rows(n_rows, width), .up = rows(n_rows, width)};
  }

  MoeActivations moe(const MoeConfig& moe) const {
    const int64_t choices = batch_.tokens() * moe.chosen;
    MoeActivations all{.chosen = {memory_, choices},
                       .weights = rows(moe.chosen),
                       .first_rows = {memory_, moe.experts + 1},
                       .choices = {memory_, choices},
                       .totals = {memory_, moe.experts},
                       .experts = swiglu(choices, moe.expert_width),
                       .shared = swiglu(batch_.tokens(), moe.shared_width),
                       .shared_gate = rows(1)};
    all.totals.fill_zero();
    return all;
  }

 private:
  ops::Buffer<float> rows(int64_t n_rows, int64_t width) const { return {memory_, n_rows * width}; }

  const ops::Memory& memory_;
  TrainingBatch batch_;
};

// Makes room in a host's workspace in one piece; pieces that grow with the need would leave gaps.
// For a device whoever owns the workspace knows the need exactly (ops/rehearsal.h).
void reserve_scratch(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                     const ops::OpContext& context) {
  if (!context.workspace.memory().is_host) return;
  Scope scope(context.workspace);
  const TrainingMemory memory =
      training_memory(config, mixer, batch, context.threads, context.activations);
  scope.take<std::byte>(static_cast<size_t>(memory.scratch_bytes));
}

bool wants_any(const BlockGradients& gradients, std::initializer_list<Role> roles) {
  return std::any_of(roles.begin(), roles.end(),
                     [&](Role role) { return gradients.wants(LinearId{role}); });
}

// Whether anything before the feed-forward's input needs a gradient.
bool wants_mixer(const BlockGradients& gradients) {
  return gradients.dx != nullptr || gradients.vectors != nullptr ||
         wants_any(gradients,
                   {Role::q_proj, Role::k_proj, Role::v_proj, Role::o_proj, Role::in_proj_qkv,
                    Role::in_proj_z, Role::in_proj_b, Role::in_proj_a, Role::out_proj});
}

}  // namespace

void add_rows(const TrainingPass& pass, int64_t width, const float* x, float* sum) {
  pass.run.ops.add(x, sum, pass.tokens() * width, pass.run.context);
}

void copy_rows(const TrainingPass& pass, int64_t width, const float* x, float* out) {
  pass.run.ops.copy_rows({.x = x,
                          .out = out,
                          .rows = pass.tokens(),
                          .width = width,
                          .x_stride = width,
                          .out_stride = width},
                         pass.run.context);
}

float* zeros(const TrainingPass& pass, ops::Buffer<float>* values, size_t count) {
  if (values == nullptr) return nullptr;
  *values = {*pass.run.ops.memory, static_cast<int64_t>(count)};
  values->fill_zero(pass.run.context.stream);
  return values->data();
}

void GradientJobs::add(LinearId linear, const ops::Weight& weight, const float* x,
                       const float* dy) {
  if (!gradients_.wants(linear)) return;
  const int64_t n = ops::outputs(weight), k = ops::inputs(weight);
  jobs_.push_back({.matrix = static_cast<int64_t>(linears_.size()),
                   .x = x,
                   .dy = dy,
                   .rows = pass_.tokens(),
                   .n = n,
                   .k = k,
                   .x_stride = k,
                   .dy_stride = n});
  linears_.push_back(linear);
}

void GradientJobs::run() {
  if (jobs_.empty()) return;
  if (gradients_.update != nullptr) {
    std::vector<ops::SignRoundTarget> targets;
    for (const LinearId linear : linears_) targets.push_back(gradients_.update->target(linear));
    const ops::SignRoundUpdate update{gradients_.update->rule, gradients_.update->sizes, targets};
    pass_.run.ops.weight_gradient_tiles(jobs_, {.update = &update}, pass_.run.context);
    return;
  }
  const ops::WeightGradientConsumer consume = [&](const ops::WeightGradientTile& tile) {
    gradients_.consume(linears_[static_cast<size_t>(tile.matrix)], tile);
  };
  pass_.run.ops.weight_gradient_tiles(jobs_, {.consume = &consume}, pass_.run.context);
}

BlockTraining::BlockTraining(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                             const ops::Memory& memory)
    : config_(config), mixer_(mixer), batch_(batch) {
  const ActivationMaker make(memory, batch);
  saved_.middle = make.rows(config.hidden);
  if (mixer == MixerKind::attention) {
    saved_.mixer = make.attention(config.attention);
  } else {
    saved_.mixer = make.delta_net(config.delta_net);
  }
  if (config.moe) {
    saved_.feed_forward = make.moe(*config.moe);
  } else {
    saved_.feed_forward = make.swiglu(batch.tokens(), config.dense_width);
  }
}

void BlockTraining::forward(const BlockWeights& weights, const float* x, float* y,
                            const Executor& executor) {
  reserve_scratch(config_, mixer_, batch_, executor.context);
  const TrainingPass pass{config_, batch_, executor};
  const int64_t tokens = batch_.tokens(), hidden = config_.hidden;
  const ops::RmsNormShape shape{tokens, hidden, config_.norm_eps};
  Scope scope(executor.context.workspace);
  const auto normed = take_floats(scope, tokens * hidden);

  executor.ops.zero_centered_rms_norm(x, weights.input_norm.data(), shape, normed.data(),
                                      executor.context);
  float* middle = saved_.middle.data();
  if (auto* attention = std::get_if<AttentionActivations>(&saved_.mixer)) {
    attention_training_forward(pass, std::get<AttentionWeights>(weights.mixer), normed.data(),
                               *attention, middle);
  } else {
    delta_net_training_forward(pass, std::get<DeltaNetWeights>(weights.mixer), normed.data(),
                               std::get<DeltaNetActivations>(saved_.mixer), middle);
  }
  add_rows(pass, hidden, x, middle);

  executor.ops.zero_centered_rms_norm(middle, weights.post_attention_norm.data(), shape,
                                      normed.data(), executor.context);
  if (auto* moe = std::get_if<MoeActivations>(&saved_.feed_forward)) {
    moe_training_forward(pass, std::get<MoeWeights>(weights.feed_forward), normed.data(), *moe, y);
  } else {
    dense_training_forward(pass, std::get<ops::SwigluWeights>(weights.feed_forward), normed.data(),
                           std::get<SwigluActivations>(saved_.feed_forward), y);
  }
  add_rows(pass, hidden, middle, y);
}

void BlockTraining::backward(const BlockWeights& weights, const float* x, const float* dy,
                             const BlockGradients& gradients, const Executor& executor) {
  reserve_scratch(config_, mixer_, batch_, executor.context);
  const TrainingPass pass{config_, batch_, executor};
  const int64_t tokens = batch_.tokens(), hidden = config_.hidden;
  const ops::RmsNormShape shape{tokens, hidden, config_.norm_eps};
  const ops::OpTable& ops = executor.ops;
  VectorGradients* vectors = gradients.vectors;
  Scope scope(executor.context.workspace);
  const auto normed = take_floats(scope, tokens * hidden);
  const auto d_normed = take_floats(scope, tokens * hidden);
  const auto d_middle = take_floats(scope, tokens * hidden);

  ops.zero_centered_rms_norm(saved_.middle.data(), weights.post_attention_norm.data(), shape,
                             normed.data(), executor.context);
  const PartGradients feed_forward{normed.data(), dy, d_normed.data(), gradients};
  if (auto* moe = std::get_if<MoeActivations>(&saved_.feed_forward)) {
    moe_training_backward(pass, std::get<MoeWeights>(weights.feed_forward), *moe, feed_forward);
  } else {
    dense_training_backward(pass, std::get<ops::SwigluWeights>(weights.feed_forward),
                            std::get<SwigluActivations>(saved_.feed_forward), feed_forward);
  }
  if (!wants_mixer(gradients)) return;

  copy_rows(pass, hidden, dy, d_middle.data());
  ops.zero_centered_rms_norm_backward(
      {.x = saved_.middle.data(),
       .weight = weights.post_attention_norm.data(),
       .dy = d_normed.data(),
       .dx = d_middle.data(),
       .d_weight = zeros(pass, vectors ? &vectors->post_attention_norm : nullptr,
                         weights.post_attention_norm.size()),
       .shape = shape,
       .add_to_dx = true},
      executor.context);

  ops.zero_centered_rms_norm(x, weights.input_norm.data(), shape, normed.data(), executor.context);
  const bool through_input = gradients.dx != nullptr || vectors != nullptr;
  const PartGradients mixer{normed.data(), d_middle.data(),
                            through_input ? d_normed.data() : nullptr, gradients};
  if (auto* attention = std::get_if<AttentionActivations>(&saved_.mixer)) {
    attention_training_backward(pass, std::get<AttentionWeights>(weights.mixer), *attention, mixer);
  } else {
    delta_net_training_backward(pass, std::get<DeltaNetWeights>(weights.mixer),
                                std::get<DeltaNetActivations>(saved_.mixer), mixer);
  }
  if (!through_input) return;
  ops.zero_centered_rms_norm_backward(
      {.x = x,
       .weight = weights.input_norm.data(),
       .dy = d_normed.data(),
       .dx = d_middle.data(),
       .d_weight = zeros(pass, vectors ? &vectors->input_norm : nullptr, weights.input_norm.size()),
       .shape = shape,
       .add_to_dx = true},
      executor.context);
  if (gradients.dx != nullptr) copy_rows(pass, hidden, d_middle.data(), gradients.dx);
}

std::vector<int64_t> BlockTraining::expert_tokens(ops::Stream* stream) const {
  const auto* moe = std::get_if<MoeActivations>(&saved_.feed_forward);
  return moe == nullptr ? std::vector<int64_t>() : moe->totals.to_vector(stream);
}

}  // namespace qround
