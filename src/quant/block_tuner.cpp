#include "quant/block_tuner.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

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

// The backend of work on host memory: searches of scales.
const ops::OpTable& host_ops(const Executor& executor) {
  return executor.ops.memory->is_host ? executor.ops : ops::select_host_backend();
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
        losses_(memory_, std::max<int64_t>(1, recipe.iterations)) {
    for (size_t i = 0; i < state.linears().size(); ++i)
      linear_idx_.emplace(key_of(state.linears()[i].id), i);
    update_.rule = state.rule();
    update_.target = [this](LinearId id) { return state_.target(linear_idx_.at(key_of(id))); };
  }

  // Makes the loss of an iteration's batch; the gradient of its output stays for `step`.
  void forward(const std::vector<int64_t>& samples, int64_t iteration) {
    load(samples);
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

  // The mean squared error of samples [begin, end), one at a time.
  double evaluate(int64_t begin, int64_t end) {
    if (!single_) single_.emplace(config_, mixer_, TrainingBatch{1, data_.length}, memory_);
    ops::Buffer<double> losses(memory_, end - begin);
    for (int64_t sample = begin; sample < end; ++sample) {
      const float* x = resident(data_.inputs.sample(sample), x_);
      const float* target = resident(data_.targets.sample(sample), target_);
      single_->forward(weights_, x, y_.data(), executor_);
      error(y_.data(), target, data_.length, nullptr, losses.data() + (sample - begin));
    }
    double total = 0;
    for (const double loss : losses.to_vector(executor_.context.stream)) total += loss;
    return total / static_cast<double>(end - begin);
  }

 private:
  int64_t sample_floats() const { return data_.length * config_.hidden; }
  size_t sample_bytes() const { return static_cast<size_t>(sample_floats()) * sizeof(float); }

  // A sample where the backend can read it: as it is, or in the beginning of `place`.
  const float* resident(const float* sample, ops::Buffer<float>& place) const {
    if (memory_.is_host) return sample;
    memory_.upload(place.data(), sample, sample_bytes(), executor_.context.stream);
    return place.data();
  }

  void load(const std::vector<int64_t>& samples) {
    const auto copy = [&](size_t i, int) {
      const auto place = static_cast<int64_t>(i) * sample_floats();
      memory_.upload(x_.data() + place, data_.inputs.sample(samples[i]), sample_bytes(),
                     executor_.context.stream);
      memory_.upload(target_.data() + place, data_.targets.sample(samples[i]), sample_bytes(),
                     executor_.context.stream);
    };
    parallel_for(memory_.is_host ? executor_.context.threads : Threads{1}, samples.size(), copy);
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
  ops::Buffer<double> losses_;  // [iterations]
  BlockUpdate update_;
  std::map<LinearKey, size_t> linear_idx_;
};

// Keeps the best parameter set seen, by whatever loss it is told.
class Best {
 public:
  explicit Best(RoundingState& state) : state_(state) {}

  void offer(double loss, int64_t iteration) {
    if (!(loss < loss_)) return;  // a loss that is no number never wins
    loss_ = loss;
    iteration_ = iteration;
    state_.keep();
  }
  double loss() const { return loss_; }
  void give(TuneResult& result) {
    result.rounding = state_.take_kept();
    result.kept_iteration = iteration_;
    result.loss_after = loss_;
  }

 private:
  RoundingState& state_;
  double loss_ = std::numeric_limits<double>::infinity();
  int64_t iteration_ = 0;
};

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
  result.loss_before = run.evaluate(first, samples);
  result.rounding = search_rounding(state_, importance, recipe_.grid, host_ops(executor_));
  state_.restore(result.rounding);
  result.loss_after = run.evaluate(first, samples);
  result.expert_tokens = importance.expert_tokens();
  return result;
}

void BlockTuner::search_rare_experts(const BlockData& data, TuneResult& result) const {
  // Counts over the run are those of the whole set a number of times; the exact ones cost a pass.
  const double passes = static_cast<double>(recipe_.iterations * recipe_.batch) /
                        static_cast<double>(data.inputs.samples());
  const auto may_be_rare = [&](int64_t tokens) {
    return static_cast<double>(tokens) < 2 * passes * static_cast<double>(recipe_.few_tokens);
  };
  if (std::none_of(result.expert_tokens.begin(), result.expert_tokens.end(), may_be_rare)) return;
  const Importance importance =
      measure_importance(config_, source_.weights, state_.linears(), data.inputs,
                         {recipe_.batch, data.length}, recipe_.token_weight, executor_);
  result.rare_experts = quant::rare_experts(state_, importance, recipe_.few_tokens);
  result.searched_maps =
      round_rare_experts(state_, result.rare_experts, importance, recipe_.grid, host_ops(executor_),
                         executor_.context.threads, result.rounding);
}

TuneResult BlockTuner::run(const BlockData& data, int64_t block,
                           const std::function<void(const TuneProgress&)>& progress,
                           const std::atomic<bool>* interrupt) {
  if (recipe_.iterations == 0) return search(data);
  const bool held_out = recipe_.selection == Selection::held_out && recipe_.held_out > 0;
  const int64_t samples = data.inputs.samples();
  const int64_t trained = held_out ? samples - recipe_.held_out : samples;
  Best best(state_);
  TuneResult result;
  if (held_out) {
    result.loss_before =
        Run(config_, recipe_, executor_, state_, weights_, data).evaluate(trained, samples);
    best.offer(result.loss_before, 0);
  }
  if (recipe_.start == Start::feedback)
    start_from_feedback(config_, source_.weights,
                        {data.inputs, trained, {recipe_.batch, data.length}}, recipe_, executor_,
                        state_);
  Run run(config_, recipe_, executor_, state_, weights_, data);
  BatchOrder order(trained, recipe_.batch, recipe_.seed, static_cast<uint64_t>(block));
  if (held_out && recipe_.start != Start::nearest) best.offer(run.evaluate(trained, samples), 0);
  // Every iteration on a host, where a loss is known at once.
  const auto is_looked_at = [&](int64_t iteration) {
    return executor_.ops.memory->is_host || (iteration + 1) % kIterationsAhead == 0 ||
           iteration + 1 == recipe_.iterations;
  };
  double best_batch = std::numeric_limits<double>::infinity();
  std::vector<int64_t> next = order.next();
  for (int64_t iteration = 0; iteration < recipe_.iterations; ++iteration) {
    if (interrupt != nullptr && interrupt->load()) {
      result.interrupted = true;
      return result;
    }
    const std::vector<int64_t> batch = std::exchange(next, order.next());
    for (const int64_t sample : next) {
      data.inputs.prefetch(sample);
      data.targets.prefetch(sample);
    }
    run.forward(batch, iteration);
    const bool by_batch = recipe_.selection == Selection::mini_batch;
    const auto known = static_cast<int64_t>(result.losses.size());
    if (by_batch || is_looked_at(iteration)) run.read_losses(iteration, result.losses);
    if (by_batch) best.offer(result.losses.back(), iteration);
    run.step(iteration);
    if (held_out && is_evaluated(recipe_, iteration + 1))
      best.offer(run.evaluate(trained, samples), iteration + 1);
    for (auto now = known; now < static_cast<int64_t>(result.losses.size()); ++now) {
      const double loss = result.losses[static_cast<size_t>(now)];
      best_batch = std::min(best_batch, loss);
      if (progress)
        progress({now + 1, loss, result.losses.front(), held_out ? best.loss() : best_batch});
    }
  }
  result.expert_tokens = run.expert_tokens();
  if (!held_out) result.loss_before = result.losses.front();
  if (recipe_.selection == Selection::last ||
      (recipe_.selection == Selection::held_out && !held_out)) {
    best.offer(result.losses.back(), recipe_.iterations);
  }
  best.give(result);
  search_rare_experts(data, result);
  return result;
}

void BlockTuner::forward(const RoundingSnapshot& rounding, ActivationStore& states,
                         int64_t length) {
  state_.restore(rounding);
  forward_samples(config_, weights_, states, {recipe_.batch, length}, executor_);
}

void forward_samples(const ModelConfig& config, const BlockWeights& weights,
                     ActivationStore& states, TrainingBatch batch, const Executor& executor) {
  const ops::Memory& memory = *executor.ops.memory;
  const int64_t floats = batch.length * config.hidden;
  const auto bytes = static_cast<size_t>(floats) * sizeof(float);
  ops::Buffer<float> x(memory, batch.sequences * floats), y(memory, batch.sequences * floats);
  std::optional<BlockTraining> pass;
  for (int64_t first = 0; first < states.samples(); first += batch.sequences) {
    const int64_t count = std::min(batch.sequences, states.samples() - first);
    for (int64_t i = 0; i < count; ++i)
      memory.upload(x.data() + i * floats, states.sample(first + i), bytes,
                    executor.context.stream);
    for (int64_t next = first + count; next < std::min(states.samples(), first + 2 * count); ++next)
      states.prefetch(next);
    if (!pass || pass->batch().sequences != count)
      pass.emplace(config, mixer_kind(weights), TrainingBatch{count, batch.length}, memory);
    pass->forward(weights, x.data(), y.data(), executor);
    for (int64_t i = 0; i < count; ++i)
      memory.download(states.sample(first + i), y.data() + i * floats, bytes,
                      executor.context.stream);
  }
}

}  // namespace qround::quant
