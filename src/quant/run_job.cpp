#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "checkpoint/copy_files.h"
#include "checkpoint/quantization_config.h"
#include "quant/block_cascade.h"
#include "quant/error_statistics.h"
#include "quant/export_config.h"
#include "quant/export_stream.h"
#include "quant/job.h"
#include "quant/output_directory.h"
#include "quant/read_ahead.h"
#include "quant/round_to_nearest.h"
#include "verify/verify.h"

namespace qround::quant {
namespace {

// Files the job writes itself; those of the source are not copied over.
const std::vector<std::string> kOwnFiles = {"config.json", "quantization_config.json",
                                            std::string(kReportFileName)};

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int64_t iterations(const JobSpec& spec) { return spec.recipe ? spec.recipe->iterations : 0; }

// Rounds one step of the plan and hands its tensors to the stream in the plan's order. `tuned` has
// the rounding of this step, or is null: to nearest.
void round_step(const PlannedJob& job, const ExportStep& step, const BlockCascade* tuned,
                ReadAhead& read_ahead, ExportStream& stream, ErrorStatistics& errors) {
  for (const std::span<const ExportItem> items : batches(step)) {
    read_ahead.advance(items.size());
    if (items.front().linear == nullptr) {
      stream.copy(items.front());
      continue;
    }
    PackedBatch& batch = stream.free_batch();
    batch.reset(items);
    if (tuned != nullptr) {
      tuned->pack(batch, job.spec.threads);
    } else {
      round_to_nearest(batch, job.spec.threads);
    }
    for (const PackedLinear& linear : batch.linears()) {
      errors.add(linear);
      const TensorEntry& pages = linear.item->pages;
      job.source.files()[pages.file_idx].release(pages);
    }
    stream.push(batch);
  }
}

bool has_int4(const ExportStep& step) {
  return std::any_of(step.items.begin(), step.items.end(),
                     [](const ExportItem& item) { return item.linear != nullptr; });
}

// Learned rounding of a job: what it works with, and what it reports.
class Tuning {
 public:
  Tuning(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop)
      : job_(job),
        progress_(progress),
        stop_(stop),
        data_(load_calibration(calibration_options(job.spec), job.spec.source)),
        cascade_(job.source, job.config, job.table, data_, *job.spec.recipe,
                 job.spec.policy.scheme.group_size,
                 {ops::select_backend(job.spec.backend), {job.spec.threads, workspace_}}) {}

  // Tunes the step if it is a text block; null: round it to nearest.
  const BlockCascade* tune(const ExportStep& step) {
    if (step.part != Part::text || step.block < 0) return nullptr;
    const auto tell = [&](const TuneProgress& now) {
      if (now.iteration % kTellEvery != 0) return;
      progress_.line(fmt::format("{}: iteration {} of {}, loss {:.3g} (first {:.3g})", step.label,
                                 now.iteration, job_.spec.recipe->iterations, now.loss,
                                 now.first_loss));
    };
    BlockRecord record = cascade_.tune(step.block, step.items, tell, stop_);
    progress_.line(fmt::format("{}: loss {:.4g} -> {:.4g} after {} steps, {}{}", step.label,
                               record.loss_before, record.loss_after, record.kept_iteration,
                               duration_text(record.seconds), expert_text(record)));
    records_.push_back(to_json(record));
    return has_int4(step) ? &cascade_ : nullptr;
  }

  Json report() const {
    return Json::object({{"data_sha256", data_.sha256},
                         {"samples", data_.samples},
                         {"length", data_.length},
                         {"blocks", Json(records_)}});
  }

 private:
  static constexpr int64_t kTellEvery = 100;

  static CalibrationOptions calibration_options(const JobSpec& spec) {
    CalibrationOptions options = spec.calibration;
    options.samples = spec.recipe->samples;
    options.length = spec.recipe->length;
    options.seed = spec.recipe->seed;
    return options;
  }
  static std::string expert_text(const BlockRecord& record) {
    std::vector<int64_t> tokens = record.expert_tokens;
    if (tokens.empty()) return "";
    std::sort(tokens.begin(), tokens.end());
    const auto unused = std::count(tokens.begin(), tokens.end(), 0);
    return fmt::format(", tokens per expert: {} least, {} median{}", tokens.front(),
                       tokens[tokens.size() / 2],
                       unused > 0 ? fmt::format(", {} experts without any", unused) : "");
  }

  const PlannedJob& job_;
  Progress& progress_;
  const std::atomic<bool>* stop_;
  ops::Workspace workspace_;
  CalibrationData data_;
  BlockCascade cascade_;
  Json::Array records_;
};

ErrorStatistics write_tensors(const PlannedJob& job, Tuning* tuning, ShardWriter& writer,
                              Progress& progress, const std::atomic<bool>* stop) {
  ErrorStatistics errors;
  ReadAhead read_ahead(job.source, job.exports);
  ExportStream stream(job.source, writer, progress, stop);
  for (const ExportStep& step : job.exports.steps) {
    const BlockCascade* tuned = tuning == nullptr ? nullptr : tuning->tune(step);
    round_step(job, step, tuned, read_ahead, stream, errors);
  }
  stream.wait();
  return errors;
}

// The index goes last: without it the directory is no checkpoint.
void write_other_files(const PlannedJob& job, ShardWriter& writer) {
  copy_other_files(job.source, job.spec.output, kOwnFiles);
  write_config_files(
      job.spec.output, job.source.config(),
      export_config(job.table, job.decisions, job.spec.policy.scheme, iterations(job.spec)));
  writer.finish();
}

std::vector<std::pair<std::string, Json>> recipe(const JobSpec& spec) {
  Json::Array rules;
  for (const PolicyRule& rule : spec.policy.rules) {
    const bool keep = rule.action == PolicyRule::Action::keep;
    rules.push_back(Json::object({{keep ? "keep" : "quantize", rule.pattern}}));
  }
  std::vector<std::pair<std::string, Json>> members = {
      {"scheme", spec.policy.scheme.name()},
      {"bits", Scheme::kBits},
      {"group_size", spec.policy.scheme.group_size},
      {"rounding", spec.recipe ? "learned" : "nearest"},
      {"iters", iterations(spec)},
      {"rules", Json(std::move(rules))},
      {"max_shard_bytes", spec.max_shard_bytes}};
  if (spec.recipe) members.emplace_back("learned_rounding", to_json(*spec.recipe));
  return members;
}

// "source/" has an empty last name; a relative "." only tells when made absolute.
std::string directory_name(const std::filesystem::path& path) {
  std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.filename().string();
}

Report start_report(const PlannedJob& job) {
  Report report;
  report.tool_version = job.spec.tool_version;
  report.source = directory_name(job.spec.source);
  report.source_config_sha256 = sha256_of_file(job.source.path() / "config.json");
  std::error_code ignored;
  if (std::filesystem::exists(job.source.path() / kIndexFileName, ignored))
    report.source_index_sha256 = sha256_of_file(job.source.path() / kIndexFileName);
  report.recipe = recipe(job.spec);
  report.linears_quantized = job.plan.linears.quantized;
  report.linears = job.plan.linears.total;
  report.mtp_linears_quantized = job.plan.linears.mtp_quantized;
  report.mtp_linears = job.plan.linears.mtp_total;
  report.tensors_before = job.plan.tensors_before;
  report.tensors_after = job.plan.tensors_after;
  report.bytes_before = job.plan.bytes_before;
  report.bytes_after = job.plan.bytes_after;
  report.threads = job.spec.threads.count;
  return report;
}

void add_outcome(const verify::Outcome& outcome, Report& report) {
  report.rules_checked = outcome.checked();
  report.rule_errors = outcome.count(verify::Severity::error);
  report.rule_warnings = outcome.count(verify::Severity::warning);
  for (const verify::RuleOutcome& rule : outcome.rules) {
    for (const verify::Finding& finding : rule.findings.first()) {
      report.findings.push_back({.rule = rule.rule,
                                 .severity = std::string(severity_name(rule.severity)),
                                 .tensor = finding.tensor,
                                 .message = finding.message,
                                 .expected = finding.expected,
                                 .actual = finding.actual});
    }
  }
}

void throw_if_failed(const PlannedJob& job, const Report& report) {
  if (report.rule_errors == 0) return;
  for (const ReportFinding& finding : report.findings) {
    if (finding.severity != severity_name(verify::Severity::error)) continue;
    throw Error(fmt::format("the written checkpoint breaks {} rules' conditions, first '{}': {}",
                            report.rule_errors, finding.rule, finding.message),
                ErrorKind::check)
        .file(job.spec.output)
        .tensor(finding.tensor)
        .expected(finding.expected)
        .actual(finding.actual)
        .hint("all findings stand in report.json");
  }
}

void write_checkpoint(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop,
                      Report& report) {
  std::optional<Tuning> tuning;
  if (job.spec.recipe) tuning.emplace(job, progress, stop);
  OutputDirectory directory(job.spec.source, job.spec.output);
  ShardWriter writer(job.spec.output, job.shards);
  progress.start("quantize", job.exports.source_bytes);
  const ErrorStatistics errors =
      write_tensors(job, tuning ? &*tuning : nullptr, writer, progress, stop);
  write_other_files(job, writer);
  progress.finish();
  directory.keep();
  if (tuning) report.tuning = tuning->report();
  report.errors = errors.by_kind();
  report.worst = errors.worst();
}

}  // namespace

Report run_job(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop) {
  check_resources(job.plan);
  PeakMemory memory;
  const Stopwatch total;
  Report report = start_report(job);
  try {
    write_checkpoint(job, progress, stop, report);
  } catch (...) {
    progress.cancel();
    throw;
  }
  report.seconds.emplace_back("quantize", total.seconds());
  const Stopwatch checking;
  add_outcome(verify::run({.directory = job.spec.output,
                           .source = &job.source,
                           .threads = job.spec.threads,
                           .stop = stop},
                          progress),
              report);
  report.seconds.emplace_back("verify", checking.seconds());
  report.seconds.emplace_back("total", total.seconds());
  report.peak_memory_bytes = memory.peak_bytes();
  write_report(job.spec.output, report);
  throw_if_failed(job, report);
  return report;
}

}  // namespace qround::quant
