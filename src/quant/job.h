// A quantization from beginning to end: plan_job reads headers only, run_job does the work.
//
//   PlannedJob job = plan_job(spec);         // every refusal that needs no tensor data
//   fmt::print("{}", plan_text(job.plan));
//   Report report = run_job(job, progress, &interrupted);
//
// run_job streams: block by block, tensor by tensor. Memory holds two batches of packed tensors
// and, with learned rounding, the parameters of one block and the hidden states of the calibration
// sequences; never the network.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/report.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_writer.h"
#include "model/model_config.h"
#include "model/tensor_table.h"
#include "quant/calibration.h"
#include "quant/export_plan.h"
#include "quant/plan.h"
#include "quant/policy.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

struct JobSpec {
  std::filesystem::path source;
  std::filesystem::path output;  // empty: planned only; its disk is then the source's
  Policy policy;
  std::optional<TuneRecipe> recipe;  // absent: round-to-nearest
  CalibrationOptions calibration;    // of a recipe; its samples, length and seed are the recipe's
  std::string backend;               // operations to tune with; empty: the best
  uint64_t max_shard_bytes = uint64_t{4} << 30;
  Threads threads = Threads::all();
  std::string tool_version;  // for the report
};

// Movable; holds pointers into itself that moving keeps valid.
struct PlannedJob {
  JobSpec spec;
  Checkpoint source;
  ModelConfig config;
  TensorTable table;
  std::vector<Decision> decisions;
  ExportPlan exports;
  ShardPlan shards;
  Plan plan;
};

// Reads config and headers. Throws Error: unknown architecture, tensors missing or of the wrong
// shape or dtype (ten at a time), a source that is quantized already, a policy that cannot be
// carried out, an output directory that is not empty or overlaps the source. Too little disk or
// memory is not thrown: it stands in the plan (check_resources).
PlannedJob plan_job(const JobSpec& spec);

// Writes the checkpoint, checks it with all rules of verify against the source, and writes
// report.json. Throws Error: of kind `resource` when disk or memory do not suffice or the disk runs
// full, `input` for a weight that is not finite, `interrupted` when `stop` became true; then the
// output directory is as before. Of kind `check` when the written checkpoint breaks a rule: files
// and report stay for inspection. `stop` may be null.
Report run_job(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop);

}  // namespace qround::quant
