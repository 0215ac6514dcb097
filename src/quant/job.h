// A quantization from beginning to end: plan_job reads headers only, run_job does the work.
//
//   PlannedJob job = plan_job(spec);         // every refusal that needs no tensor data
//   fmt::print("{}", plan_text(job.plan));
//   Report report = run_job(job, progress, &interrupted);
//
// run_job streams: block by block, tensor by tensor. Memory holds two batches of packed tensors
// and, with learned rounding, the parameters of one block and, where the budget allows, the hidden
// states of the calibration sequences; never the network.
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
#include "quant/export_config.h"
#include "quant/export_plan.h"
#include "quant/plan.h"
#include "quant/policy.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

struct JobSpec {
  std::filesystem::path source;
  std::filesystem::path output;  // empty: planned only; its disk is then the source's
  Policy policy;
  std::optional<TuneRecipe> recipe;      // absent: round-to-nearest, block by block without text
  std::optional<ops::ScaleGrid> search;  // without a recipe: scales are searched, inputs alike
  bool mtp_rtn = false;                  // an int4 MTP head may be rounded to nearest, not learned
  CalibrationOptions calibration;  // of a recipe; its samples, length and seed are the recipe's
  std::string backend;             // operations to tune with; empty: the best
  uint64_t max_shard_bytes = uint64_t{4} << 30;
  uint64_t memory_budget_bytes = 0;      // for this process; 0: what is free
  uint64_t gpu_memory_budget_bytes = 0;  // 0: none
  bool restart = false;                  // an unfinished job in the output directory is thrown away
  Threads threads = Threads::all();
  std::string tool_version;  // for the report

  int64_t iterations() const { return recipe ? recipe->iterations : 0; }
  Rounding rounding() const;
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
// full, `input` for a weight that is not finite or when another job lies unfinished in the output
// directory, `interrupted` when `stop` became true. Then, and after any failure once a block has
// been tuned, the steps that are done stay, and the same job continues after them; else the output
// directory is as before. Of kind `check` when the
// written checkpoint breaks a rule: files and report stay for inspection. `stop` may be null.
//
// A job that is continued, after an Error or a kill, ends with the same bytes as one that was not
// disturbed (docs/resume.md).
Report run_job(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop);

}  // namespace qround::quant
