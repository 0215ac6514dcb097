#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/memory.h"
#include "base/stopwatch.h"
#include "checkpoint/copy_files.h"
#include "checkpoint/partial_shards.h"
#include "checkpoint/quantization_config.h"
#include "quant/error_statistics.h"
#include "quant/export_config.h"
#include "quant/export_stream.h"
#include "quant/job.h"
#include "quant/job_journal.h"
#include "quant/job_report.h"
#include "quant/job_tuning.h"
#include "quant/optimized_rtn.h"
#include "quant/output_directory.h"
#include "quant/read_ahead.h"
#include "quant/round_to_nearest.h"
#include "quant/stored_rounding.h"
#include "verify/verify.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;

// Files the job writes itself; those of the source are not copied over.
const std::vector<std::string> kOwnFiles = {"config.json", "quantization_config.json",
                                            std::string(kReportFileName)};

bool is_published(const fs::path& output) {
  std::error_code ignored;
  return fs::exists(output / kIndexFileName, ignored);
}

// The steps of an unfinished job whose tensors still are what was written: as many as stand at the
// beginning without a gap.
size_t count_intact(const PlannedJob& job, const std::vector<StepRecord>& records,
                    const PartialShards& shards) {
  size_t n_steps = 0;
  while (n_steps < records.size() &&
         stored_crc32(job.exports.steps[n_steps], shards) == records[n_steps].int4_crc32) {
    ++n_steps;
  }
  return n_steps;
}

// Writes the steps of a job that are not written yet.
class StepWriter {
 public:
  StepWriter(const PlannedJob& job, JobTuning* tuning, ShardWriter& writer, JobJournal& journal,
             std::vector<StepRecord>& records, Progress& progress, const std::atomic<bool>* stop)
      : job_(job),
        ops_(ops::select_backend(job.spec.backend)),
        tuning_(tuning),
        journal_(journal),
        records_(records),
        read_ahead_(job.source, job.exports),
        stream_(job.source, writer, job.spec.iterations() == 0 ? progress : silent_, stop) {}

  void run() {
    const std::vector<ExportStep>& steps = job_.exports.steps;
    const size_t n_done = records_.size();
    records_.resize(steps.size());  // the stream's thread reads them
    for (size_t i = 0; i < n_done; ++i) read_ahead_.advance(steps[i].items.size());
    for (size_t i = n_done; i < steps.size(); ++i) write(steps[i], records_[i]);
    stream_.wait();
  }

 private:
  void write(const ExportStep& step, StepRecord& record) {
    const Stopwatch stopwatch;
    std::optional<BlockRecord> tuned;
    if (tuning_ != nullptr && JobTuning::passes(step)) {
      tuned = tuning_->tune(step);
      record.tuning = to_json(*tuned);
    }
    for (const std::span<const ExportItem> items : batches(step)) {
      read_ahead_.advance(items.size());
      if (items.front().linear == nullptr) {
        stream_.copy(items.front());
      } else {
        stream_.push(round(items, tuned ? &tuning_->cascade() : nullptr, record));
      }
    }
    if (tuned) tuning_->show(step, *tuned, record.relative_errors);
    record.seconds = stopwatch.seconds();
    stream_.commit([this, &record](uint32_t crc32) {
      record.int4_crc32 = crc32;
      journal_.append(record);
    });
  }

  PackedBatch& round(std::span<const ExportItem> items, const BlockCascade* tuned,
                     StepRecord& record) {
    PackedBatch& batch = stream_.free_batch();
    batch.reset(items);
    if (tuned != nullptr) {
      tuned->pack(batch, job_.spec.threads);
    } else if (job_.spec.search) {
      round_by_search(batch, *job_.spec.search, ops_, job_.spec.threads);
    } else {
      round_to_nearest(batch, ops_, job_.spec.threads);
    }
    for (const PackedLinear& linear : batch.linears()) {
      record.relative_errors.push_back(linear.relative_error);
      const TensorEntry& pages = linear.item->pages;
      job_.source.files()[pages.file_idx].release(pages);
    }
    return batch;
  }

  const PlannedJob& job_;
  const ops::OpTable& ops_;
  JobTuning* tuning_;
  JobJournal& journal_;
  std::vector<StepRecord>& records_;
  Progress silent_;
  ReadAhead read_ahead_;
  ExportStream stream_;
};

// One run of a job, from what earlier runs left to a published checkpoint.
class JobRun {
 public:
  JobRun(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop)
      : job_(job), progress_(progress), stop_(stop) {
    if (job.spec.recipe) data_ = load_calibration(job);
    identity_ = job_identity(job, data_ ? data_->sha256 : "");
    if (job.spec.restart) return;
    unfinished_ = find_unfinished_job(job.spec.output);
    if (unfinished_) check_same_job(*unfinished_, identity_, job.spec.output);
  }

  void run() {
    OutputDirectory directory(
        job_.spec.source, job_.spec.output,
        unfinished_ ? OutputDirectory::Contents::kept : OutputDirectory::Contents::cleared);
    if (unfinished_) records_ = std::move(unfinished_->records);
    if (!unfinished_ || !is_published(job_.spec.output)) {
      try {
        write_checkpoint();
      } catch (const Error& error) {
        keeps_steps_ = is_worth_keeping(error);
        if (keeps_steps_) directory.keep();
        throw;
      }
    }
    directory.keep();
  }

  // After a failure: the steps that stay for another run; 0: nothing stays.
  size_t n_kept_steps() const { return keeps_steps_ ? n_durable_steps_ : 0; }

  void add_to(Report& report) const {
    ErrorStatistics errors;
    Json::Array blocks;
    for (size_t i = 0; i < records_.size(); ++i) {
      size_t n_linears = 0;
      for (const ExportItem& item : job_.exports.steps[i].items) {
        if (item.linear == nullptr) continue;
        errors.add(item, records_[i].relative_errors.at(n_linears++));
      }
      if (!records_[i].tuning.is_null()) blocks.push_back(records_[i].tuning);
    }
    report.errors = errors.by_kind();
    report.errors_by_block = errors.by_block();
    report.worst = errors.worst();
    if (!data_) return;
    report.tuning = Json::object({{"data_sha256", data_->sha256},
                                  {"samples", data_->samples},
                                  {"length", data_->length},
                                  {"blocks", Json(std::move(blocks))}});
  }

  double seconds_of_earlier_runs() const { return seconds_before_; }
  uint64_t peak_gpu_memory_bytes() const { return peak_gpu_memory_bytes_; }

 private:
  // Plain rounding that failed is done again faster than it is explained; what somebody stopped, or
  // what was learned, stays.
  bool is_worth_keeping(const Error& error) const {
    if (n_durable_steps_ == 0) return false;
    return error.kind() == ErrorKind::interrupted ||
           std::any_of(records_.begin(),
                       records_.begin() + static_cast<std::ptrdiff_t>(n_durable_steps_),
                       [](const StepRecord& record) { return !record.tuning.is_null(); });
  }

  void write_checkpoint() {
    const fs::path& output = job_.spec.output;
    ShardWriter writer(output, job_.shards,
                       unfinished_ ? ShardWriter::Start::continued : ShardWriter::Start::empty);
    const PartialShards left(output, job_.shards);
    JobJournal journal = open_journal(writer, left);
    n_durable_steps_ = journal.n_steps();
    const std::unique_ptr<JobTuning> tuning = make_tuning(left);
    start_progress();
    try {
      StepWriter(job_, tuning.get(), writer, journal, records_, progress_, stop_).run();
    } catch (...) {
      n_durable_steps_ = journal.n_steps();
      throw;
    }
    n_durable_steps_ = journal.n_steps();
    if (tuning) peak_gpu_memory_bytes_ = tuning->peak_device_bytes();
    write_other_files(writer);
    progress_.finish();
  }

  JobJournal open_journal(ShardWriter& writer, const PartialShards& left) {
    if (!unfinished_) return JobJournal::create(job_, identity_);
    const size_t n_steps = count_intact(job_, records_, left);
    records_.resize(n_steps);
    for (size_t i = 0; i < n_steps; ++i) {
      seconds_before_ += records_[i].seconds;
      for (const ExportItem& item : job_.exports.steps[i].items) {
        for (const std::string& name : item.written_names()) writer.adopt(name);
      }
    }
    progress_.line(fmt::format("continuing: {} of {} steps were done by an earlier run", n_steps,
                               job_.exports.steps.size()));
    return JobJournal::resume(job_, n_steps);
  }

  // With the streams of hidden states where the first step that is not done needs them.
  std::unique_ptr<JobTuning> make_tuning(const PartialShards& left) {
    const std::vector<ExportStep>& steps = job_.exports.steps;
    const auto first = steps.begin() + static_cast<std::ptrdiff_t>(records_.size());
    if (!data_ || std::none_of(first, steps.end(), JobTuning::passes)) return nullptr;
    const fs::path folder =
        job_.plan.activations_on_disk ? job_.spec.output / ShardWriter::kPartialFolder : fs::path();
    auto tuning = std::make_unique<JobTuning>(job_, *data_, folder, progress_, stop_);
    for (auto step = steps.begin(); step != first; ++step) {
      if (!JobTuning::passes(*step)) continue;
      if (stop_ != nullptr && *stop_) throw Error("interrupted", ErrorKind::interrupted);
      tuning->replay(*step, left);
    }
    return tuning;
  }

  void start_progress() {
    uint64_t bytes = 0, iterations = 0;
    for (size_t i = records_.size(); i < job_.exports.steps.size(); ++i) {
      const ExportStep& step = job_.exports.steps[i];
      for (const ExportItem& item : step.items) bytes += item.source.bytes();
      if (data_ && JobTuning::passes(step))
        iterations += static_cast<uint64_t>(job_.spec.iterations());
    }
    if (iterations > 0) {
      progress_.start("quantize", iterations, Progress::Unit::items);
    } else {
      progress_.start("quantize", bytes);
    }
  }

  // The index goes last: without it the directory is no checkpoint.
  void write_other_files(ShardWriter& writer) {
    copy_other_files(job_.source, job_.spec.output, kOwnFiles);
    write_config_files(
        job_.spec.output, job_.source.config(),
        export_config(job_.table, job_.decisions, job_.spec.policy.scheme, job_.spec.rounding()));
    writer.finish();
  }

  const PlannedJob& job_;
  Progress& progress_;
  const std::atomic<bool>* stop_;
  std::optional<CalibrationData> data_;
  Json identity_;
  std::optional<UnfinishedJob> unfinished_;
  std::vector<StepRecord> records_;
  size_t n_durable_steps_ = 0;
  bool keeps_steps_ = false;
  double seconds_before_ = 0;
  uint64_t peak_gpu_memory_bytes_ = 0;
};

// What was done is not lost: the person should know.
Error with_resume_hint(Error error, size_t n_steps, size_t n_all) {
  const std::string hint =
      fmt::format("{} of {} steps are done and kept: the same command continues", n_steps, n_all);
  error.hint(error.hint().empty() ? hint : error.hint() + "; " + hint);
  return error;
}

}  // namespace

Report run_job(const PlannedJob& job, Progress& progress, const std::atomic<bool>* stop) {
  check_resources(job.plan);
  PeakMemory memory;
  const Stopwatch total;
  Report report = start_report(job);
  JobRun run(job, progress, stop);
  try {
    run.run();
  } catch (const Error& error) {
    progress.cancel();
    if (run.n_kept_steps() == 0) throw;
    throw with_resume_hint(error, run.n_kept_steps(), job.exports.steps.size());
  } catch (...) {
    progress.cancel();
    throw;
  }
  run.add_to(report);
  const double before = run.seconds_of_earlier_runs();
  report.seconds.emplace_back("quantize", before + total.seconds());
  const Stopwatch checking;
  const verify::Outcome outcome = verify::run({.directory = job.spec.output,
                                               .source = &job.source,
                                               .threads = job.spec.threads,
                                               .stop = stop},
                                              progress);
  report.verify = to_json(outcome);
  report.seconds.emplace_back("verify", checking.seconds());
  report.seconds.emplace_back("total", before + total.seconds());
  report.peak_memory_bytes = memory.peak_bytes();
  report.peak_gpu_memory_bytes = run.peak_gpu_memory_bytes();
  write_report(job.spec.output, report);
  JobJournal::remove(job.spec.output);
  throw_if_failed(job, outcome);
  return report;
}

}  // namespace qround::quant
