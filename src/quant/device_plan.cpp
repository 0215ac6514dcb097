#include "quant/device_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "ops/rehearsal.h"
#include "quant/block_cascade.h"
#include "quant/importance.h"
#include "quant/input_products.h"
#include "quant/job_tuning.h"
#include "quant/starting_point.h"

namespace qround::quant {
namespace {

// Of the host's memory, for libraries and the driver of the device; a guess.
constexpr uint64_t kDriverBytes = uint64_t{512} << 20;

// One iteration takes what any number takes. Searching scales for rare experts is the host's work;
// what the device does for that and for the start is rehearsed by itself.
TuneRecipe shortened(TuneRecipe recipe) {
  recipe.iterations = 1;
  recipe.few_tokens = 0;
  recipe.start = Start::nearest;
  return recipe;
}

class JobRehearsal {
 public:
  JobRehearsal(const PlannedJob& job, const ops::Backend& backend)
      : job_(job), backend_(backend), recipe_(shortened(*job.spec.recipe)) {
    for (const ExportStep& step : job.exports.steps)
      if (JobTuning::passes(step)) kinds_.emplace(kind_of(step), &step);
  }

  // Of tuning any block, alone on the device but for the streams.
  DevicePlan blocks(bool streams_on_device) const {
    ops::Rehearsal rehearsal(backend_);
    for (const auto& [kind, step] : kinds_) tune(*step, streams_on_device, rehearsal);
    return {.streams_on_device = streams_on_device,
            .bytes = rehearsal.buffer_bytes() + rehearsal.workspace_bytes(),
            .workspace_bytes = rehearsal.workspace_bytes()};
  }

  // Of the largest block by itself.
  uint64_t largest_block() const {
    ops::Rehearsal rehearsal(backend_);
    for (const auto& [kind, step] : kinds_) resident(*step, rehearsal);
    return rehearsal.buffer_bytes();
  }

  // What the host keeps of the largest block's rounding, and batches on their way.
  uint64_t host_bytes() const {
    uint64_t weights = 0;
    for (const auto& [kind, step] : kinds_) weights = std::max(weights, std::get<2>(kind));
    const auto group = static_cast<uint64_t>(job_.spec.policy.scheme.group_size);
    const auto batch = static_cast<uint64_t>(recipe_.batch * recipe_.length * job_.config.hidden);
    return kDriverBytes + weights / 2 + weights / group * (sizeof(uint16_t) + sizeof(float)) +
           2 * batch * sizeof(float);
  }

 private:
  // Blocks alike in these take the same: mixer, part, int4 weights, bytes in the source.
  using Kind = std::tuple<bool, Part, uint64_t, uint64_t>;

  Kind kind_of(const ExportStep& step) const {
    uint64_t weights = 0, bytes = 0;
    for (const ExportItem& item : step.items) {
      bytes += item.source.bytes();
      if (item.linear != nullptr) weights += static_cast<uint64_t>(item.shape.out * item.shape.in);
    }
    const bool attention =
        step.part == Part::mtp ||
        job_.config.mixers[static_cast<size_t>(step.block)] == MixerKind::attention;
    return {attention, step.part, weights, bytes};
  }

  ResidentBlock resident(const ExportStep& step, const ops::Rehearsal& rehearsal) const {
    return make_resident(load_block(job_.source, job_.config, job_.table, step.part, step.block),
                         *rehearsal.table().memory, nullptr);
  }

  SampleStore store(bool on_device, const ops::Memory& memory) const {
    const int64_t floats = recipe_.length * job_.config.hidden;
    if (on_device) return SampleStore(recipe_.samples, floats, memory);
    return SampleStore(ActivationStore(recipe_.batch + recipe_.held_out, floats));
  }

  // As BlockCascade does it.
  void tune(const ExportStep& step, bool streams_on_device, ops::Rehearsal& rehearsal) const {
    const Executor executor{rehearsal.table(),
                            rehearsal.context(job_.spec.threads, /*many_rows=*/true)};
    SampleStore reference = store(streams_on_device, *rehearsal.table().memory);
    SampleStore quantized = store(streams_on_device, *rehearsal.table().memory);
    ResidentBlock block = resident(step, rehearsal);
    const TrainingBatch batch{recipe_.batch, recipe_.length};
    forward_samples(job_.config, block.weights, reference, batch, executor);
    BlockTuner tuner(job_.config, std::move(block), tuned_linears(step.items),
                     job_.spec.policy.scheme.group_size, recipe_, executor);
    const TuneResult result =
        tuner.run({recipe_.length, quantized, reference}, step.block, nullptr, nullptr);
    measure_importance(job_.config, tuner.source(), tuner.state().linears(), quantized, batch,
                       recipe_.token_weight, executor);
    InputProducts products(tuner.state().linears());
    visit_calibration_inputs(
        job_.config, tuner.source(), {quantized, quantized.samples(), batch},
        [&](const LinearInputs& seen) { products.add(seen, executor); }, executor);
    if (job_.spec.recipe->start == Start::feedback) rehearse_feedback(tuner.state(), executor);
    tuner.forward(result.rounding, quantized, recipe_.length);
  }

  const PlannedJob& job_;
  const ops::Backend& backend_;
  TuneRecipe recipe_;
  std::map<Kind, const ExportStep*> kinds_;
};

}  // namespace

DevicePlan plan_device(const PlannedJob& job, const ops::Backend& backend, uint64_t limit_bytes) {
  const JobRehearsal rehearsal(job, backend);
  const uint64_t next = rehearsal.largest_block();
  const DevicePlan large = rehearsal.blocks(true), small = rehearsal.blocks(false);
  const auto with_next = [&](DevicePlan plan) {
    plan.next_on_device = true;
    plan.bytes += next;
    return plan;
  };
  DevicePlan chosen = small;
  for (const DevicePlan& plan : {with_next(large), large, with_next(small)}) {
    if (plan.bytes > limit_bytes) continue;
    chosen = plan;
    break;
  }
  chosen.smallest_bytes = small.bytes;
  chosen.host_bytes = rehearsal.host_bytes();
  return chosen;
}

}  // namespace qround::quant
