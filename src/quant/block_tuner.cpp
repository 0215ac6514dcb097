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

namespace qround::quant {
namespace {

constexpr int64_t kLossRows =
    64;  // rows whose squared errors are summed together, whatever the number of threads
// Gradients are of 1000 times the loss: they reach the F16 scale gradients of auto-round's way as
// it scales them, and signs do not care.
constexpr double kLossScale = 1000;

using LinearKey = std::pair<Role, int64_t>;
LinearKey key_of(LinearId id) { return {id.role, id.expert}; }

// A token whose target is nearly zero weighs no more than one of this mean square.
constexpr double kLeastMeanSquare = 1e-6;

struct Outputs {
  const float* y;       // [rows, width]
  const float* target;  // [rows, width]
  int64_t rows, width;
};

double weight_of_row(const Outputs& outputs, int64_t row, LossWeight weight) {
  if (weight == LossWeight::plain) return 1;
  const float* target = outputs.target + row * outputs.width;
  double sum = 0;
  for (int64_t i = 0; i < outputs.width; ++i) sum += double{target[i]} * double{target[i]};
  return 1 / std::max(sum / static_cast<double>(outputs.width), kLeastMeanSquare);
}

// Weighted mean squared error; dy [rows, width], if wanted, its gradient times kLossScale.
double squared_error(const Outputs& outputs, LossWeight weight, float* dy, Threads threads) {
  const int64_t blocks = (outputs.rows + kLossRows - 1) / kLossRows;
  std::vector<double> sums(static_cast<size_t>(blocks));
  const double count = static_cast<double>(outputs.rows * outputs.width);
  parallel_for(threads, sums.size(), [&](size_t block, int) {
    const int64_t begin = static_cast<int64_t>(block) * kLossRows;
    double total = 0;
    for (int64_t row = begin; row < std::min(outputs.rows, begin + kLossRows); ++row) {
      const double row_weight = weight_of_row(outputs, row, weight);
      const auto factor = static_cast<float>(2 * kLossScale * row_weight / count);
      double sum = 0;
      for (int64_t i = row * outputs.width; i < (row + 1) * outputs.width; ++i) {
        const float error = outputs.y[i] - outputs.target[i];
        sum += double{error} * double{error};
        if (dy != nullptr) dy[i] = factor * error;
      }
      total += row_weight * sum;
    }
    sums[block] = total;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total / count;
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
        training_(config, mixer_, {recipe.batch, data.length}),
        x_(batch_floats(recipe.batch)),
        target_(x_.size()),
        y_(x_.size()),
        dy_(x_.size()) {
    for (size_t i = 0; i < state.linears().size(); ++i)
      linear_idx_.emplace(key_of(state.linears()[i].id), i);
  }

  // The mean squared error of a batch; the gradient of its output stays for `step`.
  double forward(const std::vector<int64_t>& samples) {
    parallel_for(executor_.context.threads, samples.size(), [&](size_t i, int) {
      const auto place = static_cast<int64_t>(i) * sample_floats();
      std::copy_n(data_.inputs.sample(samples[i]), sample_floats(), x_.data() + place);
      std::copy_n(data_.targets.sample(samples[i]), sample_floats(), target_.data() + place);
    });
    training_.forward(weights_, x_.data(), y_.data(), executor_);
    return squared_error({y_.data(), target_.data(), recipe_.batch * data_.length, config_.hidden},
                         recipe_.loss_weight, dy_.data(), executor_.context.threads);
  }

  void step(int64_t iteration) {
    BlockGradients gradients;
    gradients.wants = [&](LinearId id) { return linear_idx_.contains(key_of(id)); };
    gradients.consume = [&](LinearId id, const ops::WeightGradientTile& tile) {
      state_.step(linear_idx_.at(key_of(id)), tile.row_begin, tile.row_end, tile.values, iteration);
    };
    training_.backward(weights_, x_.data(), dy_.data(), gradients, executor_);
  }

  void count_expert_tokens(std::vector<int64_t>& totals) const {
    const std::vector<int64_t> tokens = training_.expert_tokens();
    totals.resize(tokens.size());
    for (size_t expert = 0; expert < tokens.size(); ++expert) totals[expert] += tokens[expert];
  }

  // The mean squared error of samples [begin, end), one at a time.
  double evaluate(int64_t begin, int64_t end) {
    BlockTraining single(config_, mixer_, {1, data_.length});
    double total = 0;
    for (int64_t sample = begin; sample < end; ++sample) {
      single.forward(weights_, data_.inputs.sample(sample), y_.data(), executor_);
      total +=
          squared_error({y_.data(), data_.targets.sample(sample), data_.length, config_.hidden},
                        recipe_.loss_weight, nullptr, executor_.context.threads);
    }
    return total / static_cast<double>(end - begin);
  }

 private:
  int64_t sample_floats() const { return data_.length * config_.hidden; }
  size_t batch_floats(int64_t sequences) const {
    return static_cast<size_t>(sequences * sample_floats());
  }

  const ModelConfig& config_;
  const TuneRecipe& recipe_;
  const Executor& executor_;
  RoundingState& state_;
  const BlockWeights& weights_;
  const BlockData& data_;
  MixerKind mixer_;
  BlockTraining training_;
  std::vector<float> x_, target_, y_, dy_;
  std::map<LinearKey, size_t> linear_idx_;
};

// Keeps the best parameter set seen, by whatever loss it is told.
class Best {
 public:
  explicit Best(const RoundingState& state) : state_(state) {}

  void offer(double loss, int64_t iteration) {
    if (!(loss < loss_)) return;  // a loss that is no number never wins
    loss_ = loss;
    iteration_ = iteration;
    state_.snapshot(rounding_);
  }
  double loss() const { return loss_; }
  void give(TuneResult& result) {
    result.rounding = std::move(rounding_);
    result.kept_iteration = iteration_;
    result.loss_after = loss_;
  }

 private:
  const RoundingState& state_;
  double loss_ = std::numeric_limits<double>::infinity();
  int64_t iteration_ = 0;
  RoundingSnapshot rounding_;
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

BlockTuner::BlockTuner(const ModelConfig& config, BlockWeights weights,
                       std::vector<TunedLinear> linears, int64_t group_size,
                       const TuneRecipe& recipe, const Executor& executor)
    : config_(config),
      recipe_(recipe),
      executor_(executor),
      state_(std::move(linears), group_size, recipe, executor.ops, executor.context),
      source_(weights),
      weights_(std::move(weights)) {
  for (size_t i = 0; i < state_.linears().size(); ++i) {
    linear_weight(weights_, state_.linears()[i].id) = state_.effective_weight(i);
  }
}

TuneResult BlockTuner::search(const BlockData& data) {
  const Importance importance =
      measure_importance(config_, source_, state_.linears(), data.inputs,
                         {recipe_.batch, data.length}, recipe_.token_weight, executor_);
  Run run(config_, recipe_, executor_, state_, weights_, data);
  const int64_t samples = data.inputs.samples();
  const int64_t first = recipe_.held_out > 0 ? samples - recipe_.held_out : 0;
  TuneResult result;
  result.loss_before = run.evaluate(first, samples);
  result.rounding = search_rounding(state_, importance, recipe_.grid, executor_.ops);
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
      measure_importance(config_, source_, state_.linears(), data.inputs,
                         {recipe_.batch, data.length}, recipe_.token_weight, executor_);
  result.rare_experts = quant::rare_experts(state_, importance, recipe_.few_tokens);
  result.searched_maps =
      round_rare_experts(state_, result.rare_experts, importance, recipe_.grid, executor_.ops,
                         executor_.context.threads, result.rounding);
}

TuneResult BlockTuner::run(const BlockData& data, int64_t block,
                           const std::function<void(const TuneProgress&)>& progress,
                           const std::atomic<bool>* interrupt) {
  if (recipe_.iterations == 0) return search(data);
  const bool held_out = recipe_.selection == Selection::held_out && recipe_.held_out > 0;
  const int64_t samples = data.inputs.samples();
  const int64_t trained = held_out ? samples - recipe_.held_out : samples;
  Run run(config_, recipe_, executor_, state_, weights_, data);
  BatchOrder order(trained, recipe_.batch, recipe_.seed, static_cast<uint64_t>(block));
  Best best(state_);
  TuneResult result;
  if (held_out) {
    result.loss_before = run.evaluate(trained, samples);
    best.offer(result.loss_before, 0);
  }
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
    const double loss = run.forward(batch);
    run.count_expert_tokens(result.expert_tokens);
    result.losses.push_back(loss);
    best_batch = std::min(best_batch, loss);
    if (recipe_.selection == Selection::mini_batch) best.offer(loss, iteration);
    run.step(iteration);
    if (held_out && is_evaluated(recipe_, iteration + 1))
      best.offer(run.evaluate(trained, samples), iteration + 1);
    if (progress)
      progress({iteration + 1, loss, result.losses.front(), held_out ? best.loss() : best_batch});
  }
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
  const int64_t floats = batch.length * config.hidden;
  std::vector<float> x(static_cast<size_t>(batch.sequences * floats)), y(x.size());
  std::optional<BlockTraining> pass;
  for (int64_t first = 0; first < states.samples(); first += batch.sequences) {
    const int64_t count = std::min(batch.sequences, states.samples() - first);
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(states.sample(first + i), floats, x.data() + i * floats);
    for (int64_t next = first + count; next < std::min(states.samples(), first + 2 * count); ++next)
      states.prefetch(next);
    if (!pass || pass->batch().sequences != count)
      pass.emplace(config, mixer_kind(weights), TrainingBatch{count, batch.length});
    pass->forward(weights, x.data(), y.data(), executor);
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(y.data() + i * floats, floats, states.sample(first + i));
  }
}

}  // namespace qround::quant
