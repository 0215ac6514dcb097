#include "quant/job_journal.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_writer.h"
#include "ops/backend.h"
#include "quant/job_report.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;

// Counts up when records change their meaning.
constexpr int64_t kFormat = 1;

fs::path journal_path(const fs::path& output) {
  return output / ShardWriter::kPartialFolder / "journal";
}

Json to_json(const StepRecord& record) {
  Json::Array errors;
  for (const double error : record.relative_errors) errors.emplace_back(error);
  return Json::object({{"int4_crc32", int64_t{record.int4_crc32}},
                       {"relative_errors", Json(std::move(errors))},
                       {"tuning", record.tuning},
                       {"seconds", record.seconds}});
}

StepRecord step_record(const Json& json) {
  StepRecord record{.int4_crc32 = static_cast<uint32_t>(json.at("int4_crc32").as_int()),
                    .tuning = json.at("tuning"),
                    .seconds = json.at("seconds").as_double()};
  for (const Json& error : json.at("relative_errors").as_array())
    record.relative_errors.push_back(error.as_double());
  return record;
}

// "recipe.iters: 200 there, 50 here" for every leaf that differs.
void list_differences(const std::string& path, const Json* theirs, const Json* ours,
                      std::vector<std::string>& differences) {
  const auto text = [](const Json* value) { return value == nullptr ? "absent" : value->dump(); };
  if (text(theirs) == text(ours)) return;
  if (theirs == nullptr || ours == nullptr || !theirs->is_object() || !ours->is_object()) {
    differences.push_back(fmt::format("{}: {} there, {} here", path, text(theirs), text(ours)));
    return;
  }
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const auto& [key, value] : theirs->as_object())
    list_differences(prefix + key, &value, ours->find(key), differences);
  for (const auto& [key, value] : ours->as_object()) {
    if (theirs->find(key) == nullptr) list_differences(prefix + key, nullptr, &value, differences);
  }
}

// Names and sizes of the source's files: their bytes would take too long to read.
std::string files_sha256(const Checkpoint& source) {
  Sha256 hash;
  for (const SafetensorsFile& file : source.files())
    hash.update(
        fmt::format("{} {}\n", file.path().filename().string(), fs::file_size(file.path())));
  return hash.hex();
}

}  // namespace

Json job_identity(const PlannedJob& job, std::string_view data_sha256) {
  const Report report = start_report(job);
  JsonObject recipe;
  for (const auto& [key, value] : report.recipe) recipe.set(key, value);
  return Json::object({{"tool_version", report.tool_version},
                       {"backend", std::string(ops::select_backend(job.spec.backend).name)},
                       {"simd", ops::simd_target()},
                       {"source", Json::object({{"config_sha256", report.source_config_sha256},
                                                {"index_sha256", report.source_index_sha256},
                                                {"files_sha256", files_sha256(job.source)}})},
                       {"calibration_tokens_sha256", std::string(data_sha256)},
                       {"recipe", Json(std::move(recipe))}});
}

std::optional<UnfinishedJob> find_unfinished_job(const fs::path& output) {
  const auto records = Journal::read(journal_path(output));
  if (!records) return std::nullopt;
  const Json& header = records->front();
  if (header.at("format").as_int() != kFormat) {
    throw Error("the journal of an unfinished job is of another version of this program")
        .file(journal_path(output))
        .hint("finish it with that version or start over with --restart");
  }
  UnfinishedJob job{.identity = header.at("job")};
  for (const Json& label : header.at("steps").as_array()) job.steps.push_back(label.as_string());
  for (size_t i = 1; i < records->size(); ++i) job.records.push_back(step_record((*records)[i]));
  return job;
}

void check_same_job(const UnfinishedJob& unfinished, const Json& identity, const fs::path& output) {
  std::vector<std::string> differences;
  list_differences("", &unfinished.identity, &identity, differences);
  if (differences.empty()) return;
  std::string text;
  for (const std::string& difference : differences) text += (text.empty() ? "" : "; ") + difference;
  throw Error("another job lies unfinished in the output directory")
      .file(output)
      .expected("the options it was begun with")
      .actual(text)
      .hint("use the same options to continue it, or --restart to begin anew");
}

JobJournal JobJournal::create(const PlannedJob& job, const Json& identity) {
  Json::Array labels;
  for (const ExportStep& step : job.exports.steps) labels.emplace_back(step.label);
  const Json header =
      Json::object({{"format", kFormat}, {"job", identity}, {"steps", Json(std::move(labels))}});
  return {Journal::create(journal_path(job.spec.output), header), 0};
}

JobJournal JobJournal::resume(const PlannedJob& job, size_t n_steps) {
  return {Journal::resume(journal_path(job.spec.output), n_steps + 1), n_steps};
}

void JobJournal::append(const StepRecord& record) {
  journal_.append(to_json(record));
  ++n_steps_;
}

void JobJournal::remove(const fs::path& output) {
  std::error_code ignored;  // what is left harms nobody
  fs::remove(journal_path(output), ignored);
  fs::remove(output / ShardWriter::kPartialFolder, ignored);
}

}  // namespace qround::quant
