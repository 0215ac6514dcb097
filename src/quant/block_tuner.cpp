#include "quant/block_tuner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "quant/batch_feed.h"
#include "quant/batch_order.h"
#include "quant/importance.h"
#include "quant/optimized_rtn.h"
#include "quant/rare_experts.h"
#include "quant/starting_point.h"

namespace qround::quant {
namespace {

// Iterations a device may be ahead of what is known of their losses.
constexpr int64_t kIterationsAhead = 8;
// Gradients are of 1000 times the loss: they reach the F16 scale gradients of auto-round's way as
// it scales them, and signs do not care.
constexpr double kLossScale = 1000;

using LinearKey = std::pair<Role, int64_t>;
LinearKey key_of(LinearId id) { return {id.role, id.expert}; }

ops::RowWeight row_weight(LossWeight weight) {
  switch (weight) {
    case LossWeight::plain:
      return ops::RowWeight::one;
    case LossWeight::relative:
      return ops::RowWeight::inverse_energy;
  }
  return ops::RowWeight::one;
}

// Weights of the maps that the backend can read.
std::vector<ops::DenseWeight> resident_weights(const std::vector<TunedLinear>& linears,
                                               ResidentBlock& block, const Executor& executor) {
  std::vector<ops::DenseWeight> weights;
  for (const TunedLinear& linear : linears) {
    weights.push_back(executor.ops.memory->is_host
                          ? linear.weight
                          : std::get<ops::DenseWeight>(linear_weight(block.weights, linear.id)));
  }
  return weights;
}

// Everything one run works with.
class Run {
 public:
  Run(const ModelConfig& config, const TuneRecipe& recipe, const Executor& executor,
      RoundingState& state, const BlockWeights& weights, const BlockData& data)
      : config_(config),
        recipe_(recipe),
        executor_(executor),
        state_(state),
        weights_(weights),
        data_(data),
        mixer_(mixer_kind(weights)),
        memory_(*executor.ops.memory),
        training_(config, mixer_, {recipe.batch, data.length}, memory_),
        x_(memory_, recipe.batch * sample_floats()),
        target_(memory_, x_.size()),
        y_(memory_, x_.size()),
        dy_(memory_, x_.size()),
        losses_(memory_, std::max<int64_t>(1, recipe.iterations)),
        feed_(data.inputs, data.targets, recipe.batch, sample_floats(), executor) {
    for (size_t i = 0; i < state.linears().size(); ++i)
      linear_idx_.emplace(key_of(state.linears()[i].id), i);
    update_.rule = state.rule();
    update_.target = [this](LinearId id) { return state_.target(linear_idx_.at(key_of(id))); };
  }

  // The samples of the next iteration.
  void fetch(std::vector<int64_t> samples) { feed_.fetch(std::move(samples)); }

  // Makes the loss of the batch fetched, which `load` moves to where `forward` reads it; the
  // gradient of its output stays for `step`.
  void load() { feed_.give(x_.data(), target_.data()); }
  void forward(int64_t iteration) {
    training_.forward(weights_, x_.data(), y_.data(), executor_);
    error(y_.data(), target_.data(), recipe_.batch * data_.length, dy_.data(),
          losses_.data() + iteration);
  }

  void step(int64_t iteration) {
    BlockGradients gradients;
    gradients.wants = [&](LinearId id) { return linear_idx_.contains(key_of(id)); };
    update_.sizes = state_.step_sizes(iteration);
    gradients.update = &update_;
    training_.backward(weights_, x_.data(), dy_.data(), gradients, executor_);
  }

  // Adds the losses up to those of `iteration` that `losses` does not have yet. Waits for them.
  void read_losses(int64_t iteration, std::vector<double>& losses) const {
    const auto first = static_cast<int64_t>(losses.size());
    losses.resize(static_cast<size_t>(iteration + 1));
    memory_.download(losses.data() + first, losses_.data() + first,
                     static_cast<size_t>(iteration + 1 - first) * sizeof(double),
                     executor_.context.stream);
  }

  std::vector<int64_t> expert_tokens() const {
    return training_.expert_tokens(executor_.context.stream);
  }

  const double* loss(int64_t iteration) const { return losses_.data() + iteration; }

  // The squared errors of samples [begin, end), one at a time, where the device has them.
  const ops::Buffer<double>& evaluate(int64_t begin, int64_t end) {
    if (!single_) single_.emplace(config_, mixer_, TrainingBatch{1, data_.length}, memory_);
    if (evaluated_.size() != end - begin) evaluated_ = {memory_, end - begin};
    for (int64_t sample = begin; sample < end; ++sample) {
      const float* x = resident(data_.inputs, sample, x_);
      const float* target = resident(data_.targets, sample, target_);
      single_->forward(weights_, x, y_.data(), executor_);
      error(y_.data(), target, data_.length, nullptr, evaluated_.data() + (sample - begin));
    }
    return evaluated_;
  }

 private:
  int64_t sample_floats() const { return data_.length * config_.hidden; }
  // A sample where the backend can read it: as it is, or in the beginning of `place`.
  const float* resident(const SampleStore& samples, int64_t index,
                        ops::Buffer<float>& place) const {
    if (const float* there = samples.in_place(index, executor_)) return there;
    samples.load(index, sample_floats(), place.data(), executor_);
    return place.data();
  }

  void error(const float* y, const float* target, int64_t rows, float* dy, double* loss) const {
    executor_.ops.squared_error({.y = y,
                                 .target = target,
                                 .dy = dy,
                                 .loss = loss,
                                 .rows = rows,
                                 .width = config_.hidden,
                                 .row_weight = row_weight(recipe_.loss_weight),
                                 .gradient_scale = kLossScale},
                                executor_.context);
  }

  const ModelConfig& config_;
  const TuneRecipe& recipe_;
  const Executor& executor_;
  RoundingState& state_;
  const BlockWeights& weights_;
  const BlockData& data_;
  MixerKind mixer_;
  const ops::Memory& memory_;
  BlockTraining training_;
  std::optional<BlockTraining> single_;  // of evaluations
  ops::Buffer<float> x_, target_, y_, dy_;
  ops::Buffer<double> losses_;     // [iterations]
  ops::Buffer<double> evaluated_;  // [samples evaluated]
  BatchFeed feed_;
  BlockUpdate update_;
  std::map<LinearKey, size_t> linear_idx_;
};

// Keeps the best parameter set seen, by whatever loss it is told.
class Best {
 public:
  Best(RoundingState& state, const Executor& executor)
      : state_(state),
        executor_(executor),
        best_(*executor.ops.memory, std::span<const ops::BestLoss>(&known_, 1),
              executor.context.stream) {}

  // The mean of `count` losses, that the backend has or will have.
  void offer(const double* losses, int64_t count, int64_t iteration) {
    executor_.ops.note_loss(
        {.losses = losses, .count = count, .iteration = iteration, .best = best_.data()},
        executor_.context);
    state_.keep(best_.data());
  }
  // Waits for what was offered.
  double read_loss() {
    best_.download({&known_, 1}, executor_.context.stream);
    return known_.loss;
  }
  void give(TuneResult& result) {
    result.loss_after = read_loss();
    if (std::isinf(result.loss_after)) {
      throw Error("tuning a block gave no loss that is a number", ErrorKind::check)
          .hint("the source's weights are damaged, or --lr is too large");
    }
    result.rounding = state_.take_kept();
    result.kept_iteration = known_.iteration;
  }

 private:
  RoundingState& state_;
  const Executor& executor_;
  ops::BestLoss known_;
  ops::Buffer<ops::BestLoss> best_;
};

double mean(const std::vector<double>& losses) {
  double total = 0;
  for (const double loss : losses) total += loss;
  return total / static_cast<double>(losses.size());
}

// Whether the held-out sequences are looked at after so many steps: evenly over the second half,
// the end included.
bool is_evaluated(const TuneRecipe& recipe, int64_t steps) {
  const int64_t half = recipe.iterations / 2;
  const int64_t every =
      std::max<int64_t>(1, (recipe.iterations - half) / std::max<int64_t>(1, recipe.evaluations));
  return steps > half && (recipe.iterations - steps) % every == 0;
}

}  // namespace

ops::Weight& linear_weight(BlockWeights& weights, LinearId id) {
  if (auto* attention = std::get_if<AttentionWeights>(&weights.mixer)) {
    switch (id.role) {
      case Role::q_proj:
        return attention->q_proj;
      case Role::k_proj:
        return attention->k_proj;
      case Role::v_proj:
        return attention->v_proj;
      case Role::o_proj:
        return attention->o_proj;
      default:
        break;
    }
  } else {
    auto& delta_net = std::get<DeltaNetWeights>(weights.mixer);
    switch (id.role) {
      case Role::in_proj_qkv:
        return delta_net.in_proj_qkv;
      case Role::in_proj_z:
        return delta_net.in_proj_z;
      case Role::in_proj_b:
        return delta_net.in_proj_b;
      case Role::in_proj_a:
        return delta_net.in_proj_a;
      case Role::out_proj:
        return delta_net.out_proj;
      default:
        break;
    }
  }
  if (auto* dense = std::get_if<ops::SwigluWeights>(&weights.feed_forward)) {
    return id.role == Role::dense_gate ? dense->gate
           : id.role == Role::dense_up ? dense->up
                                       : dense->down;
  }
  auto& moe = std::get<MoeWeights>(weights.feed_forward);
  switch (id.role) {
    case Role::router:
      return moe.router;
    case Role::expert_gate:
      return moe.experts[static_cast<size_t>(id.expert)].gate;
    case Role::expert_up:
      return moe.experts[static_cast<size_t>(id.expert)].up;
    case Role::expert_down:
      return moe.experts[static_cast<size_t>(id.expert)].down;
    case Role::shared_gate:
      return moe.shared.gate;
    case Role::shared_up:
      return moe.shared.up;
    case Role::shared_down:
      return moe.shared.down;
    default:
      return moe.shared_expert_gate;
  }
}

BlockTuner::BlockTuner(const ModelConfig& config, ResidentBlock block,
                       std::vector<TunedLinear> linears, int64_t group_size,
                       const TuneRecipe& recipe, const Executor& executor)
    : config_(config),
      recipe_(recipe),
      executor_(executor),
      source_(std::move(block)),
      state_(linears, resident_weights(linears, source_, executor), group_size, recipe, executor),
      weights_(source_.weights) {
  for (size_t i = 0; i < state_.linears().size(); ++i) {
    linear_weight(weights_, state_.linears()[i].id) = state_.effective_weight(i);
  }
}

TuneResult BlockTuner::search(const BlockData& data) {
  const Importance importance =
      measure_importance(config_, source_.weights, state_.linears(), data.inputs,
                         {recipe_.batch, data.length}, recipe_.token_weight, executor_);
  Run run(config_, recipe_, executor_, state_, weights_, data);
  const int64_t samples = data.inputs.samples();
  const int64_t first = recipe_.held_out > 0 ? samples - recipe_.held_out : 0;
  TuneResult result;
  const auto loss = [&] {
    return mean(run.evaluate(first, samples).to_vector(executor_.context.stream));
  };
  result.loss_before = loss();
  result.rounding = search_rounding(state_, importance, recipe_.grid, executor_.ops);
  state_.restore(result.rounding);
  result.loss_after = loss();
  result.expert_tokens = importance.expert_tokens();
  return result;
}

TuneResult BlockTuner::feed_back(const BlockData& data) {
  const int64_t samples = data.inputs.samples();
  const int64_t looked_at = samples - recipe_.held_out;
  const int64_t first = recipe_.held_out > 0 ? looked_at : 0;  // of those that losses are of
  Best best(state_, executor_);
  const auto offer = [&] {
    Run run(config_, recipe_, executor_, state_, weights_, data);
    const ops::Buffer<double>& losses = run.evaluate(first, samples);
    best.offer(losses.data(), losses.size(), 0);
    return mean(losses.to_vector(executor_.context.stream));
  };
  TuneResult result;
  result.loss_before = offer();
  const Importance importance = start_from_feedback(
      config_, source_.weights, {data.inputs, looked_at, {recipe_.batch, data.length}}, recipe_,
      executor_, state_);
  offer();
  best.give(result);
  result.expert_tokens = importance.expert_tokens();
  return result;
}

void BlockTuner::search_rare_experts(const BlockData& data, TuneResult& result) const {
  // Counts over the run are those of the whole set a number of times; the exact ones cost a pass.
  const double passes = recipe_.iterations == 0
                            ? 1
                            : static_cast<double>(recipe_.iterations * recipe_.batch) /
                                  static_cast<double>(data.inputs.samples());
  const auto may_be_rare = [&](int64_t tokens) {
    return static_cast<double>(tokens) < 2 * passes * static_cast<double>(recipe_.few_tokens);
  };
  if (std::none_of(result.expert_tokens.begin(), result.expert_tokens.end(), may_be_rare)) return;
  const Importance importance =
      measure_importance(config_, source_.weights, state_.linears(), data.inputs,
                         {recipe_.batch, data.length}, recipe_.token_weight, executor_);
  result.rare_experts = quant::rare_experts(state_, importance, recipe_.few_tokens);
  result.searched_maps = round_rare_experts(state_, result.rare_experts, importance, recipe_.grid,
                                            ops::host_backend_beside(executor_.ops),
                                            executor_.context.threads, result.rounding);
}

TuneResult BlockTuner::run(const BlockData& data, int64_t block,
                           const std::function<void(const TuneProgress&)>& progress,
                           const std::atomic<bool>* interrupt) {
  if (recipe_.iterations == 0 && recipe_.start == Start::nearest) return search(data);
  TuneResult result =
      recipe_.iterations == 0 ? feed_back(data) : tune(data, block, progress, interrupt);
  if (!result.interrupted) search_rare_experts(data, result);
  return result;
}

TuneResult BlockTuner::tune(const BlockData& data, int64_t block,
                            const std::function<void(const TuneProgress&)>& progress,
                            const std::atomic<bool>* interrupt) {
  const bool held_out = recipe_.selection == Selection::held_out && recipe_.held_out > 0;
  const bool by_batch = recipe_.selection == Selection::mini_batch;
  const int64_t samples = data.inputs.samples();
  const int64_t trained = held_out ? samples - recipe_.held_out : samples;
  Best best(state_, executor_);
  TuneResult result;
  const auto offer_held_out = [&](Run& run, int64_t iteration) -> const ops::Buffer<double>& {
    const ops::Buffer<double>& losses = run.evaluate(trained, samples);
    best.offer(losses.data(), losses.size(), iteration);
    return losses;
  };
  if (held_out) {
    Run before(config_, recipe_, executor_, state_, weights_, data);
    result.loss_before = mean(offer_held_out(before, 0).to_vector(executor_.context.stream));
  }
  if (recipe_.start == Start::feedback)
    start_from_feedback(config_, source_.weights,
                        {data.inputs, trained, {recipe_.batch, data.length}}, recipe_, executor_,
                        state_);
  Run run(config_, recipe_, executor_, state_, weights_, data);
  BatchOrder order(trained, recipe_.batch, recipe_.seed, static_cast<uint64_t>(block));
  if (held_out && recipe_.start != Start::nearest) offer_held_out(run, 0);
  // Every iteration on a host, where a loss is known at once.
  const auto is_looked_at = [&](int64_t iteration) {
    return executor_.ops.memory->is_host || (iteration + 1) % kIterationsAhead == 0 ||
           iteration + 1 == recipe_.iterations;
  };
  double best_batch = std::numeric_limits<double>::infinity();
  run.fetch(order.next());
  for (int64_t iteration = 0; iteration < recipe_.iterations; ++iteration) {
    if (interrupt != nullptr && interrupt->load()) {
      result.interrupted = true;
      return result;
    }
    run.load();
    run.fetch(order.next());
    run.forward(iteration);
    if (by_batch) best.offer(run.loss(iteration), 1, iteration);
    run.step(iteration);
    if (held_out && is_evaluated(recipe_, iteration + 1)) offer_held_out(run, iteration + 1);
    if (!is_looked_at(iteration)) continue;
    const auto known = static_cast<int64_t>(result.losses.size());
    run.read_losses(iteration, result.losses);
    const double best_held_out = held_out ? best.read_loss() : 0;
    for (auto now = known; now < static_cast<int64_t>(result.losses.size()); ++now) {
      const double loss = result.losses[static_cast<size_t>(now)];
      best_batch = std::min(best_batch, loss);
      if (progress)
        progress({now + 1, loss, result.losses.front(), held_out ? best_held_out : best_batch});
    }
  }
  result.expert_tokens = run.expert_tokens();
  if (!held_out) result.loss_before = result.losses.front();
  if (recipe_.selection == Selection::last ||
      (recipe_.selection == Selection::held_out && !held_out)) {
    best.offer(run.loss(recipe_.iterations - 1), 1, recipe_.iterations);
  }
  best.give(result);
  return result;
}

void BlockTuner::forward(const RoundingSnapshot& rounding, SampleStore& states, int64_t length) {
  state_.restore(rounding);
  forward_samples(config_, weights_, states, {recipe_.batch, length}, executor_);
}

void forward_samples(const ModelConfig& config, const BlockWeights& weights, SampleStore& states,
                     TrainingBatch batch, const Executor& executor) {
  const ops::Memory& memory = *executor.ops.memory;
  const int64_t floats = batch.length * config.hidden;
  ops::Buffer<float> x(memory, batch.sequences * floats), y(memory, batch.sequences * floats);
  std::optional<BlockTraining> pass;
  for (int64_t first = 0; first < states.samples(); first += batch.sequences) {
    const int64_t count = std::min(batch.sequences, states.samples() - first);
    for (int64_t i = 0; i < count; ++i)
      states.load(first + i, floats, x.data() + i * floats, executor);
    for (int64_t next = first + count; next < std::min(states.samples(), first + 2 * count); ++next)
      states.prefetch(next);
    if (!pass || pass->batch().sequences != count)
      pass.emplace(config, mixer_kind(weights), TrainingBatch{count, batch.length}, memory);
    pass->forward(weights, x.data(), y.data(), executor);
    for (int64_t i = 0; i < count; ++i)
      states.save(first + i, floats, y.data() + i * floats, executor);
  }
}

}  // namespace qround::quant
