#include "model/block_training.h"

#include "model/training_memory.h"
#include "model/training_parts.h"

namespace qround {
namespace {

using Scope = ops::Workspace::Scope;

std::vector<float> rows(int64_t tokens, int64_t width) {
  return std::vector<float>(static_cast<size_t>(tokens * width));
}

AttentionActivations attention_activations(const AttentionConfig& a, int64_t tokens) {
  const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
  return {.joined = rows(tokens, 2 * query_width),
          .keys = rows(tokens, kv_width),
          .values = rows(tokens, kv_width),
          .mixed = rows(tokens, query_width)};
}

DeltaNetActivations delta_net_activations(const DeltaNetConfig& d, int64_t tokens) {
  return {.qkv = rows(tokens, d.conv_channels()),
          .z = rows(tokens, d.value_width()),
          .b = rows(tokens, d.value_heads),
          .a = rows(tokens, d.value_heads),
          .read = rows(tokens, d.value_width())};
}

SwigluActivations swiglu_activations(int64_t n_rows, int64_t width) {
  return {.gate = rows(n_rows, width), .up = rows(n_rows, width)};
}

MoeActivations moe_activations(const MoeConfig& moe, int64_t tokens) {
  return {.chosen = std::vector<int32_t>(static_cast<size_t>(tokens * moe.chosen)),
          .weights = rows(tokens, moe.chosen),
          .first_rows = {ops::host_memory(), moe.experts + 1},
          .choices = {ops::host_memory(), tokens * moe.chosen},
          .experts = swiglu_activations(tokens * moe.chosen, moe.expert_width),
          .shared = swiglu_activations(tokens, moe.shared_width),
          .shared_gate = rows(tokens, 1)};
}

// Makes room in the workspace in one piece; pieces that grow with the need would leave gaps.
void reserve_scratch(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                     const ops::OpContext& context) {
  Scope scope(context.workspace);
  const TrainingMemory memory = training_memory(config, mixer, batch, context.threads);
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

void add_rows(const TrainingPass& pass, int64_t n_rows, int64_t width, const float* x, float* sum) {
  for_row_blocks(pass, n_rows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * width; i < end * width; ++i) sum[i] += x[i];
  });
}

void copy_rows(const TrainingPass& pass, int64_t n_rows, int64_t width, const float* x,
               float* out) {
  for_row_blocks(pass, n_rows, [&](int64_t begin, int64_t end) {
    std::copy(x + begin * width, x + end * width, out + begin * width);
  });
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
  const ops::WeightGradientConsumer consume = [&](const ops::WeightGradientTile& tile) {
    gradients_.consume(linears_[static_cast<size_t>(tile.matrix)], tile);
  };
  pass_.run.ops.weight_gradient_tiles(jobs_, {.consume = &consume}, pass_.run.context);
}

BlockTraining::BlockTraining(const ModelConfig& config, MixerKind mixer, TrainingBatch batch)
    : config_(config), mixer_(mixer), batch_(batch) {
  const int64_t tokens = batch.tokens();
  saved_.middle = rows(tokens, config.hidden);
  if (mixer == MixerKind::attention) {
    saved_.mixer = attention_activations(config.attention, tokens);
  } else {
    saved_.mixer = delta_net_activations(config.delta_net, tokens);
  }
  if (config.moe) {
    saved_.feed_forward = moe_activations(*config.moe, tokens);
  } else {
    saved_.feed_forward = swiglu_activations(tokens, config.dense_width);
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
  add_rows(pass, tokens, hidden, x, middle);

  executor.ops.zero_centered_rms_norm(middle, weights.post_attention_norm.data(), shape,
                                      normed.data(), executor.context);
  if (auto* moe = std::get_if<MoeActivations>(&saved_.feed_forward)) {
    moe_training_forward(pass, std::get<MoeWeights>(weights.feed_forward), normed.data(), *moe, y);
  } else {
    dense_training_forward(pass, std::get<ops::SwigluWeights>(weights.feed_forward), normed.data(),
                           std::get<SwigluActivations>(saved_.feed_forward), y);
  }
  add_rows(pass, tokens, hidden, middle, y);
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

  copy_rows(pass, tokens, hidden, dy, d_middle.data());
  ops.zero_centered_rms_norm_backward(
      {.x = saved_.middle.data(),
       .weight = weights.post_attention_norm.data(),
       .dy = d_normed.data(),
       .dx = d_middle.data(),
       .d_weight = zeros(vectors ? &vectors->post_attention_norm : nullptr,
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
       .d_weight = zeros(vectors ? &vectors->input_norm : nullptr, weights.input_norm.size()),
       .shape = shape,
       .add_to_dx = true},
      executor.context);
  if (gradients.dx != nullptr) copy_rows(pass, tokens, hidden, d_middle.data(), gradients.dx);
}

std::vector<int64_t> BlockTraining::expert_tokens() const {
  std::vector<int64_t> counts;
  if (const auto* moe = std::get_if<MoeActivations>(&saved_.feed_forward))
    for (int64_t expert = 0; expert + 1 < moe->first_rows.size(); ++expert)
      counts.push_back(moe->first_rows.data()[expert + 1] - moe->first_rows.data()[expert]);
  return counts;
}

}  // namespace qround
