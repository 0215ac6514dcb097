#include "quant/job_tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/memory.h"
#include "base/stopwatch.h"
#include "quant/stored_rounding.h"

namespace qround::quant {
namespace {

std::string expert_text(const BlockRecord& record, int64_t few_tokens) {
  std::vector<int64_t> tokens = record.expert_tokens;
  if (tokens.empty()) return "";
  std::sort(tokens.begin(), tokens.end());
  const auto unused = std::count(tokens.begin(), tokens.end(), 0);
  std::string text = fmt::format(", tokens per expert: {} least, {} median", tokens.front(),
                                 tokens[tokens.size() / 2]);
  if (unused > 0) text += fmt::format(", {} experts without any", unused);
  if (!record.rare_experts.empty()) {
    text += fmt::format(", {} experts with fewer than {} in the calibration set: {} maps searched",
                        record.rare_experts.size(), few_tokens, record.searched_maps);
  }
  return text;
}

// The memory, counted where it is a device's.
ops::Memory metered(ops::Memory memory, ops::MemoryMeter& meter) {
  if (!memory.is_host) memory.meter = &meter;
  return memory;
}

ops::OpTable with_memory(ops::OpTable table, const ops::Memory& memory) {
  table.memory = &memory;
  return table;
}

}  // namespace

CalibrationData load_calibration(const PlannedJob& job) {
  CalibrationOptions options = job.spec.calibration;
  options.samples = job.spec.recipe->samples;
  options.length = job.spec.recipe->length;
  options.seed = job.spec.recipe->seed;
  return load_calibration(options, job.spec.source);
}

JobTuning::JobTuning(const PlannedJob& job, const CalibrationData& data,
                     const std::filesystem::path& folder, Progress& progress,
                     const std::atomic<bool>* stop)
    : job_(job),
      progress_(progress),
      stop_(stop),
      meter_(job.plan.gpu_memory_needed_bytes),
      memory_(metered(*ops::select_backend(job.spec.backend).memory, meter_)),
      table_(with_memory(ops::select_backend(job.spec.backend), memory_)),
      workspace_(memory_),
      cascade_(job.source, job.config, job.table, data, *job.spec.recipe,
               job.spec.policy.scheme.group_size,
               {.folder = folder,
                .streams_on_device = !memory_.is_host && job.plan.activations_on_gpu,
                .next_on_device = !memory_.is_host && job.plan.next_block_on_gpu},
               {table_,
                {.threads = job.spec.threads,
                 .workspace = workspace_,
                 .activations = job.spec.recipe->activations(),
                 .many_rows = true}}) {
  workspace_.reserve(memory_.is_host
                         ? BlockCascade::needs(job.config, job.exports, *job.spec.recipe,
                                               job.spec.policy.scheme.group_size, job.spec.threads)
                               .scratch_bytes
                         : job.plan.gpu_workspace_bytes);
  const ops::Backend best = ops::backends().front();
  if (job.spec.backend.empty() && best.table != nullptr && !best.unusable_because.empty())
    progress_.line(fmt::format("backend {} cannot run here: {}", best.name, best.unusable_because));
}

bool JobTuning::passes(const ExportStep& step) {
  return step.block >= 0 && (step.part == Part::text || (step.part == Part::mtp && has_int4(step)));
}

void JobTuning::replay(const ExportStep& step, const PartialShards& shards) {
  const Stopwatch stopwatch;
  cascade_.replay(step, stored_rounding(step, shards, job_.spec.threads));
  progress_.line(fmt::format("{}: done by an earlier run; replayed in {}", step.label,
                             duration_text(stopwatch.seconds())));
}

BlockRecord JobTuning::tune(const ExportStep& step) {
  const ExportStep* next = step_after(step);
  if (next != nullptr) prefetch(*next);
  const auto tell = [&](const TuneProgress& now) {
    progress_.status(
        fmt::format("{}: iteration {} of {}, loss {:.3g} (first {:.3g}, best {:.3g}), {}",
                    step.label, now.iteration, job_.spec.recipe->iterations, now.loss,
                    now.first_loss, now.best_loss, bytes_text(resident_memory().private_bytes())));
    progress_.advance(1);
  };
  return cascade_.tune(step, next, tell, stop_);
}

void JobTuning::show(const ExportStep& step, const BlockRecord& record,
                     const std::vector<double>& relative_errors) {
  const std::string steps =
      job_.spec.iterations() > 0 ? fmt::format(" after {} steps", record.kept_iteration) : "";
  const double sum = std::accumulate(relative_errors.begin(), relative_errors.end(), 0.0);
  const auto count = static_cast<double>(std::max<size_t>(relative_errors.size(), 1));
  progress_.line(fmt::format("{}: loss {:.4g} -> {:.4g}{}, relative error {:.3g}, {}{}", step.label,
                             record.loss_before, record.loss_after, steps, sum / count,
                             duration_text(record.seconds),
                             expert_text(record, job_.spec.recipe->few_tokens)));
}

const ExportStep* JobTuning::step_after(const ExportStep& step) const {
  const auto& steps = job_.exports.steps;
  const auto next = std::find_if(steps.begin() + (&step - steps.data()) + 1, steps.end(),
                                 [](const ExportStep& candidate) { return passes(candidate); });
  return next == steps.end() ? nullptr : &*next;
}

void JobTuning::prefetch(const ExportStep& step) {
  reading_.push([this, &items = step.items] {
    for (const ExportItem& item : items)
      job_.source.files()[item.pages.file_idx].prefetch(item.pages);
  });
}

}  // namespace qround::quant
