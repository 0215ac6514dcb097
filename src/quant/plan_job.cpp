#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/disk.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/problem_list.h"
#include "model/stored_parameter.h"
#include "quant/block_cascade.h"
#include "quant/device_plan.h"
#include "quant/job.h"
#include "quant/memory_estimate.h"
#include "quant/output_directory.h"

namespace qround::quant {
namespace {

// config.json, quantization_config.json, report.json, and what the file system keeps for itself.
constexpr uint64_t kDiskReserveBytes = uint64_t{1} << 20;

// One part in so many of a GPU's free memory goes to the kernels' code and stacks; a guess.
constexpr uint64_t kDriverShare = 64;

// What a row of the plan calls the parameter.
std::string kind_name(const Parameter& p) {
  switch (p.role) {
    case Role::final_norm:
    case Role::input_norm:
    case Role::post_attention_norm:
    case Role::q_norm:
    case Role::k_norm:
    case Role::delta_net_norm:
    case Role::mtp_embedding_norm:
    case Role::mtp_hidden_norm:
      return "norms";
    case Role::a_log:
    case Role::dt_bias:
      return "A_log, dt_bias";
    case Role::visual_linear:
      return "linears";
    case Role::visual_other:
      return "embeddings, norms, biases";
    default:
      return std::string(role_name(p.role));
  }
}

uint64_t stored_bytes(const Checkpoint& source, const Parameter& p) {
  const TensorEntry* entry = source.find(p.tensor);
  const DType dtype = entry != nullptr ? entry->dtype : source.at(p.fused_tensor).dtype;
  return static_cast<uint64_t>(element_count(p.shape)) * dtype_bytes(dtype);
}

uint64_t int4_bytes(const Parameter& p, const Scheme& scheme) {
  const ExportItem item{
      .linear = &p,
      .shape = {.out = p.shape[0], .in = p.shape[1], .group_size = scheme.group_size}};
  return item.written_bytes();
}

std::vector<PlanRow> plan_rows(const PlannedJob& job, const std::vector<std::string>& unknown) {
  std::vector<PlanRow> rows;
  std::map<std::tuple<Part, std::string, bool, std::string>, size_t> row_of;
  for (const Decision& decision : job.decisions) {
    const Parameter& p = *decision.parameter;
    const auto key = std::tuple(p.part, kind_name(p), decision.int4, decision.reason);
    const auto [found, is_new] = row_of.emplace(key, rows.size());
    if (is_new) {
      rows.push_back({.part = p.part,
                      .kind = std::get<1>(key),
                      .int4 = decision.int4,
                      .reason = decision.reason});
    }
    PlanRow& row = rows[found->second];
    const uint64_t before = stored_bytes(job.source, p);
    ++row.count;
    row.bytes_before += before;
    row.bytes_after += decision.int4 ? int4_bytes(p, job.spec.policy.scheme) : before;
  }
  if (!unknown.empty()) {
    PlanRow row{.kind = "other tensors", .reason = "the network does not name them"};
    for (const std::string& name : unknown) {
      ++row.count;
      row.bytes_before += job.source.at(name).bytes();
    }
    row.bytes_after = row.bytes_before;
    rows.push_back(std::move(row));
  }
  return rows;
}

uint64_t other_file_bytes(const Checkpoint& source) {
  uint64_t sum = 0;
  std::error_code ignored;
  for (const std::filesystem::path& file : source.other_files()) {
    const uintmax_t bytes = std::filesystem::file_size(source.path() / file, ignored);
    if (!ignored) sum += bytes;
  }
  return sum;
}

int64_t count_parameters(const Checkpoint& source) {
  int64_t sum = 0;
  for (const TensorEntry& entry : source.tensors()) sum += element_count(entry.shape);
  return sum;
}

std::vector<std::string> notes(const PlannedJob& job, const CheckpointCensus& census) {
  std::vector<std::string> notes;
  if (job.plan.linears.mtp_quantized > 0)
    notes.push_back("int4 MTP heads are reported not to load in vLLM (vllm#49552)");
  if (job.config.mtp_layers > 0 && !census.has_mtp)
    notes.push_back("config.json names an MTP head but the checkpoint holds none");
  if (!census.unknown.empty())
    notes.push_back(fmt::format("{} tensors that the network does not name are copied, first '{}'",
                                census.unknown.size(), census.unknown.front()));
  return notes;
}

// The backend with memory of its own that a job tunes on, or, with a budget of such memory alone,
// would: a job may be planned for another machine. None: the host.
std::optional<ops::Backend> tuning_device(const JobSpec& spec) {
  const ops::OpTable& table = ops::select_backend(spec.backend);
  for (const ops::Backend& backend : ops::backends()) {
    if (backend.rehearsal == nullptr) continue;
    if (backend.table == &table || spec.gpu_memory_budget_bytes > 0) return backend;
  }
  if (spec.gpu_memory_budget_bytes == 0) return std::nullopt;
  throw Error("--gpu-memory is for programs that can tune on a GPU")
      .actual(ops::cuda::backend().unusable_because)
      .hint("leave it out");
}

// Returns what the host takes for a block.
uint64_t plan_gpu_memory(const PlannedJob& job, const ops::Backend& device, Plan& plan) {
  plan.gpu_memory_budget_bytes = job.spec.gpu_memory_budget_bytes;
  if (device.unusable_because.empty()) {
    const uint64_t free_bytes = device.table->memory->free_bytes();
    plan.gpu_memory_available_bytes = free_bytes - free_bytes / kDriverShare;
  }
  const DevicePlan planned = plan_device(job, device, plan.gpu_memory_limit_bytes());
  plan.gpu_memory_needed_bytes = planned.bytes;
  plan.gpu_workspace_bytes = planned.workspace_bytes;
  plan.gpu_memory_smallest_bytes = planned.smallest_bytes;
  plan.activations_on_gpu = planned.streams_on_device;
  plan.next_block_on_gpu = planned.next_on_device;
  return planned.host_bytes;
}

// Hidden states go to the disk where memory is too small for them.
void plan_memory(const PlannedJob& job, Plan& plan) {
  plan.memory_available_bytes = available_memory_bytes();
  plan.memory_budget_bytes = job.spec.memory_budget_bytes;
  plan.memory_needed_bytes = estimate_memory(job.exports, job.spec.threads);
  if (!job.spec.recipe) return;
  const BlockCascade::Needs needs =
      BlockCascade::needs(job.config, job.exports, *job.spec.recipe,
                          job.spec.policy.scheme.group_size, job.spec.threads);
  plan.activation_bytes = needs.stream_bytes;
  const bool on_device = !ops::select_backend(job.spec.backend).memory->is_host;
  uint64_t block_bytes = needs.block_bytes;
  if (const std::optional<ops::Backend> device = tuning_device(job.spec)) {
    const uint64_t beside_device = plan_gpu_memory(job, *device, plan);
    if (on_device) block_bytes = beside_device;
  }
  plan.memory_needed_bytes += block_bytes;
  if (on_device && plan.activations_on_gpu) return;
  const uint64_t limit = plan.memory_limit_bytes();
  plan.activations_on_disk = limit != 0 && plan.memory_needed_bytes + plan.activation_bytes > limit;
  if (!plan.activations_on_disk) plan.memory_needed_bytes += plan.activation_bytes;
}

Plan make_plan(const PlannedJob& job, const CheckpointCensus& census) {
  Plan plan;
  plan.source = job.spec.source.string();
  plan.output = job.spec.output.string();
  plan.architecture = job.config.architecture;
  plan.scheme = job.spec.policy.scheme.name();
  plan.rows = plan_rows(job, census.unknown);
  plan.linears = count_linears(job.decisions);
  plan.parameters = count_parameters(job.source);
  plan.tensors_before = static_cast<int64_t>(job.source.tensors().size());
  plan.shards_before = static_cast<int64_t>(job.source.files().size());
  plan.shards_after = static_cast<int64_t>(job.shards.shards.size());
  for (const PlannedShard& shard : job.shards.shards)
    plan.tensors_after += static_cast<int64_t>(shard.layout.entries.size());
  plan.bytes_before = job.source.total_bytes();
  plan.bytes_after = job.shards.tensor_bytes;
  plan_memory(job, plan);
  plan.disk_needed_bytes = job.shards.file_bytes + job.shards.index().dump({.indent = 2}).size() +
                           other_file_bytes(job.source) + kDiskReserveBytes;
  if (plan.activations_on_disk) plan.disk_needed_bytes += plan.activation_bytes;
  plan.disk_free_bytes =
      free_disk_bytes(job.spec.output.empty() ? job.spec.source : job.spec.output) +
      bytes_of_unfinished_job(job.spec.output);
  return plan;
}

void refuse_quantized(const Checkpoint& source) {
  if (source.config().find("quantization_config") == nullptr) return;
  throw Error("the source is quantized already")
      .file(source.path() / "config.json")
      .expected("a checkpoint in BF16, F16 or F32")
      .actual("quantization_config is there")
      .hint("start from the unquantized checkpoint");
}

// Such heads are reported to draft next to nothing that is accepted.
void refuse_untuned_mtp(const JobSpec& spec, const std::vector<Decision>& decisions) {
  const Rounding::Way way = spec.rounding().way;
  const bool by_its_inputs = way == Rounding::Way::learned || way == Rounding::Way::feedback;
  if (by_its_inputs || spec.mtp_rtn || count_linears(decisions).mtp_quantized == 0) return;
  throw Error("the MTP head would be rounded to nearest")
      .expected("an int4 MTP head fitted to text: --data and iterations, or --start feedback")
      .hint("such heads are reported to draft badly; --mtp-rtn does it all the same");
}

void refuse_nothing(const std::vector<Decision>& decisions) {
  const LinearCounts counts = count_linears(decisions);
  if (counts.quantized + counts.mtp_quantized > 0) return;
  throw Error("nothing would be quantized").hint("check the --keep patterns");
}

}  // namespace

Rounding JobSpec::rounding() const {
  if (iterations() > 0) return {Rounding::Way::learned, iterations()};
  if (recipe && recipe->start == Start::feedback) return {Rounding::Way::feedback, 0};
  return {recipe || search ? Rounding::Way::searched : Rounding::Way::nearest, 0};
}

PlannedJob plan_job(const JobSpec& spec) {
  if (spec.recipe) spec.recipe->validate();
  if (!spec.output.empty()) check_output_directory(spec.source, spec.output);
  PlannedJob job{.spec = spec, .source = Checkpoint::open(spec.source)};
  refuse_quantized(job.source);
  job.config = parse_model_config(job.source.config(), job.source.path() / "config.json");
  job.table = TensorTable::of(job.config);
  const CheckpointCensus census = check_against_table(job.source, job.table);
  const StoredParts parts{.mtp = census.has_mtp, .visual = census.has_visual};
  job.decisions = decide(job.table, parts, spec.policy);
  refuse_nothing(job.decisions);
  refuse_untuned_mtp(job.spec, job.decisions);
  job.exports = plan_export(job.source, job.decisions, census.unknown, spec.policy.scheme);
  job.shards = plan_shards(job.exports.tensors(), {.max_shard_bytes = spec.max_shard_bytes});
  job.plan = make_plan(job, census);
  job.plan.notes = notes(job, census);
  return job;
}

}  // namespace qround::quant
