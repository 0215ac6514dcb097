#include "quant/block_cascade.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "model/stored_parameter.h"
#include "model/training_memory.h"
#include "ops/full_range_int4.h"
#include "quant/input_products.h"
#include "quant/starting_point.h"

namespace qround::quant {
namespace {

constexpr int64_t kRowsPerUnit = 64;
// One part in so many is lost between the pieces of the heap.
constexpr uint64_t kHeapShare = 40;

SampleStore make_store(const CalibrationData& data, const ModelConfig& config,
                       const Placement& placement, const ops::Memory& memory) {
  const int64_t floats = data.length * config.hidden;
  if (placement.streams_on_device) return SampleStore(data.samples, floats, memory);
  return SampleStore(placement.folder.empty()
                         ? ActivationStore(data.samples, floats)
                         : ActivationStore(data.samples, floats, placement.folder));
}

struct Sums {
  double weights_squared = 0, errors_squared = 0;
};

Sums error_sums(const std::vector<float>& weights, const std::vector<uint8_t>& codes,
                const std::vector<uint16_t>& scales, int64_t group_size) {
  Sums sums;
  for (size_t i = 0; i < codes.size(); ++i) {
    const float scale = f16_to_f32(scales[i / static_cast<size_t>(group_size)]);
    const float error = weights[i] - scale * static_cast<float>(codes[i] + ops::kLowestCode);
    sums.weights_squared += double{weights[i]} * double{weights[i]};
    sums.errors_squared += double{error} * double{error};
  }
  return sums;
}

}  // namespace

std::vector<TunedLinear> tuned_linears(const std::vector<ExportItem>& items) {
  std::vector<TunedLinear> linears;
  for (const ExportItem& item : items) {
    if (item.linear == nullptr) continue;
    const ops::DenseWeight weight{item.source.dtype, item.source.data, item.shape.out,
                                  item.shape.in};
    linears.push_back({{item.linear->role, item.linear->expert}, item.name, weight});
  }
  return linears;
}

Json to_json(const BlockRecord& record) {
  const auto numbers = [](const auto& values) {
    Json::Array array;
    for (const auto& value : values) array.emplace_back(value);
    return Json(std::move(array));
  };
  return Json::object({{"part", record.part == Part::mtp ? "mtp" : "text"},
                       {"block", record.block},
                       {"loss_before", record.loss_before},
                       {"loss_after", record.loss_after},
                       {"kept_iteration", record.kept_iteration},
                       {"seconds", record.seconds},
                       {"losses", numbers(record.losses)},
                       {"expert_tokens", numbers(record.expert_tokens)},
                       {"rare_experts", numbers(record.rare_experts)},
                       {"searched_maps", record.searched_maps}});
}

BlockCascade::BlockCascade(const Checkpoint& source, const ModelConfig& config,
                           const TensorTable& table, const CalibrationData& data,
                           const TuneRecipe& recipe, int64_t group_size, const Placement& placement,
                           const Executor& executor)
    : source_(source),
      config_(config),
      table_(table),
      data_(data),
      embedding_(
          std::get<TensorView>(find_stored(source, *table.find(Part::text, -1, Role::embedding)))),
      recipe_(recipe),
      length_(data.length),
      group_size_(group_size),
      executor_(executor),
      placement_(placement),
      reference_(make_store(data, config, placement, *executor.ops.memory)),
      quantized_(make_store(data, config, placement, *executor.ops.memory)) {
  std::vector<float> embedded(static_cast<size_t>(reference_.floats()));
  for (int64_t sample = 0; sample < data.samples; ++sample) {
    embed(data.tokens.data() + sample * data.length, data.length, embedded.data());
    reference_.write(sample, embedded.data(), executor_);
    quantized_.write(sample, embedded.data(), executor_);
  }
}

void BlockCascade::embed(const int32_t* tokens, int64_t count, float* out) const {
  for (int64_t t = 0; t < count; ++t) {
    if (tokens[t] >= config_.vocab)
      throw Error("the tokenizer knows tokens the model does not")
          .actual(fmt::format("token {}", tokens[t]));
    to_f32(embedding_.slice(tokens[t]), out + t * config_.hidden);
  }
}

void BlockCascade::enter_mtp() {
  const MtpInputWeights weights = load_mtp_input(source_, table_);
  --length_;
  enter_mtp(reference_, weights);
  enter_mtp(quantized_, weights);
}

void BlockCascade::enter_mtp(SampleStore& stream, const MtpInputWeights& weights) const {
  const std::vector<float> final_norm =
      stored_values(source_, *table_.find(Part::text, -1, Role::final_norm));
  const ops::RmsNormShape rows{length_, config_.hidden, config_.norm_eps};
  // A row of the stream is made by the host, wherever the stream lies.
  ops::Workspace workspace;
  const Executor host = executor_.ops.memory->is_host
                            ? executor_
                            : Executor{ops::select_host_backend(),
                                       {.threads = executor_.context.threads,
                                        .workspace = workspace,
                                        .many_rows = executor_.context.many_rows}};
  std::vector<float> embedded(static_cast<size_t>(length_ * config_.hidden));
  std::vector<float> hidden(static_cast<size_t>(stream.floats()));
  for (int64_t sample = 0; sample < stream.samples(); ++sample) {
    stream.read(sample, hidden.data(), executor_);
    embed(data_.tokens.data() + sample * data_.length + 1, length_, embedded.data());
    host.ops.zero_centered_rms_norm(hidden.data(), final_norm.data(), rows, hidden.data(),
                                    host.context);
    mtp_input(config_, weights, embedded.data(), hidden.data(), length_, hidden.data(), host);
    stream.write(sample, hidden.data(), executor_);
  }
}

ResidentBlock BlockCascade::resident(const ExportStep& step) {
  if (next_ && &next_->step() == &step) return next_->take(executor_.context.stream);
  return make_resident(load_block(source_, config_, table_, step.part, step.block),
                       *executor_.ops.memory, executor_.context.stream);
}

void BlockCascade::begin_to_load(const ExportStep* next) {
  next_.reset();
  if (next != nullptr && placement_.next_on_device)
    next_.emplace(source_, config_, table_, *next, *executor_.ops.memory);
}

// Moves the full-precision stream on, to the block's targets, on the way.
void BlockCascade::make_tuner(const ExportStep& step) {
  tuner_.reset();  // what the block before took is given back first
  result_ = {};
  if (step.part == Part::mtp) enter_mtp();
  ResidentBlock block = resident(step);
  forward_samples(config_, block.weights, reference_, {recipe_.batch, length_}, executor_);
  tuner_.emplace(config_, std::move(block), tuned_linears(step.items), group_size_, recipe_,
                 executor_);
}

BlockRecord BlockCascade::tune(const ExportStep& step, const ExportStep* next,
                               const std::function<void(const TuneProgress&)>& progress,
                               const std::atomic<bool>* stop) {
  const auto begin = std::chrono::steady_clock::now();
  make_tuner(step);
  begin_to_load(next);
  // Blocks of the MTP head count on from the text's: every block has random numbers of its own.
  const int64_t stream = step.part == Part::text
                             ? step.block
                             : static_cast<int64_t>(config_.mixers.size()) + step.block;
  result_ = tuner_->run({length_, quantized_, reference_}, stream, progress, stop);
  if (result_.interrupted) throw Error("interrupted", ErrorKind::interrupted);
  tuner_->forward(result_.rounding, quantized_, length_);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {
      step.part, step.block,     result_.loss_before,  result_.loss_after, result_.kept_iteration,
      seconds,   result_.losses, result_.expert_tokens};
}

void BlockCascade::replay(const ExportStep& step, const RoundingSnapshot& rounding) {
  make_tuner(step);
  tuner_->forward(rounding, quantized_, length_);
}

size_t BlockCascade::linear_index(const ExportItem& item) const {
  const std::vector<TunedLinear>& linears = tuner_->state().linears();
  const auto found = std::find_if(linears.begin(), linears.end(), [&](const TunedLinear& linear) {
    return linear.name == item.name;
  });
  return static_cast<size_t>(found - linears.begin());
}

void BlockCascade::pack(PackedBatch& batch, Threads threads) const {
  for (PackedLinear& linear : batch.linears()) {
    const ExportItem& item = *linear.item;
    const size_t linear_idx = linear_index(item);
    const auto units = static_cast<size_t>((item.shape.out + kRowsPerUnit - 1) / kRowsPerUnit);
    std::vector<Sums> sums(units);
    parallel_for(threads, units, [&](size_t unit, int) {
      const RowRange rows{static_cast<int64_t>(unit) * kRowsPerUnit,
                          std::min(item.shape.out, static_cast<int64_t>(unit + 1) * kRowsPerUnit)};
      std::vector<uint8_t> codes(static_cast<size_t>(rows.count() * item.shape.in));
      std::vector<uint16_t> scales(static_cast<size_t>(rows.count() * item.shape.n_groups()));
      tuner_->state().read(result_.rounding, linear_idx, rows.begin, rows.end, codes.data(),
                           scales.data());
      pack_codes(item.shape, rows, codes.data(), linear.qweight);
      pack_scales(item.shape, rows, scales.data(), linear.scales);
      sums[unit] = error_sums(to_f32(item.source.rows(rows.begin, rows.end)), codes, scales,
                              item.shape.group_size);
    });
    Sums total;
    for (const Sums& sum : sums) {
      total.weights_squared += sum.weights_squared;
      total.errors_squared += sum.errors_squared;
    }
    linear.relative_error =
        total.weights_squared > 0 ? std::sqrt(total.errors_squared / total.weights_squared) : 0;
  }
}

BlockCascade::Needs BlockCascade::needs(const ModelConfig& config, const ExportPlan& plan,
                                        const TuneRecipe& recipe, int64_t group_size,
                                        Threads threads) {
  uint64_t largest = 0, largest_map = 0;
  for (const ExportStep& step : plan.steps) {
    uint64_t weights = 0;
    for (const ExportItem& item : step.items) {
      const auto of_item = static_cast<uint64_t>(item.shape.out * item.shape.in);
      if (item.linear != nullptr) {
        weights += of_item;
        largest_map = std::max(largest_map, of_item);
      }
    }
    largest = std::max(largest, RoundingState::bytes(
                                    weights, weights / static_cast<uint64_t>(group_size), recipe));
  }
  const auto hidden = static_cast<uint64_t>(config.hidden);
  const TrainingBatch batch{recipe.batch, recipe.length};
  uint64_t activations = 0, of_batch = 0, scratch = 0;
  for (const MixerKind mixer : config.mixers) {
    const auto training = training_memory(config, mixer, batch, threads, recipe.activations());
    // Held-out sequences pass one at a time, beside the batch.
    const auto evaluation =
        training_memory(config, mixer, {1, recipe.length}, threads, recipe.activations());
    activations = std::max(activations, static_cast<uint64_t>(training.activation_bytes +
                                                              evaluation.activation_bytes));
    of_batch = std::max(of_batch, static_cast<uint64_t>(training.activation_bytes));
    scratch = std::max(scratch, static_cast<uint64_t>(training.scratch_bytes));
  }
  const uint64_t buffer = static_cast<uint64_t>(batch.tokens()) * hidden * sizeof(float);
  uint64_t most = activations + 4 * buffer;  // of the iterations
  if (recipe.start == Start::feedback) {
    // Before them the inputs pass, with two buffers of a batch; then maps get their starting point.
    most = std::max({most, of_batch + 2 * buffer + InputProducts::bytes(config),
                     starting_point_bytes(config, largest_map, group_size, threads)});
  }
  const uint64_t streams =
      2 * static_cast<uint64_t>(recipe.samples * recipe.length) * hidden * sizeof(float);
  const uint64_t block = largest + scratch + most;
  return {block + block / kHeapShare, scratch, streams};
}

}  // namespace qround::quant
