// What a job has done so far, in OUT/.partial/journal: which steps of its export plan are written,
// and what the report will say of them (docs/resume.md).
//
// A step counts as done once its tensors are synced and its record after them. Whether they still
// are what was written, the checksum of its int4 tensors tells.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "quant/job.h"
#include "stream/journal.h"

namespace qround::quant {

struct StepRecord {
  uint32_t int4_crc32 = 0;              // of the int4 tensors, in the order they are written
  std::vector<double> relative_errors;  // of the int4 maps among the step's items, in order
  Json tuning;                          // BlockRecord; null: rounded to nearest
  double seconds = 0;
};

// Whatever decides the bytes of a job's result, as an object. `data_sha256` is empty without
// calibration.
Json job_identity(const PlannedJob& job, std::string_view data_sha256);

// A job that was begun in a directory.
struct UnfinishedJob {
  Json identity;
  std::vector<std::string> steps;   // labels of all of them
  std::vector<StepRecord> records;  // of the first steps
};

// Nothing when the directory holds no unfinished job. Throws Error when the journal is damaged.
std::optional<UnfinishedJob> find_unfinished_job(const std::filesystem::path& output);

// Throws Error listing what differs between an unfinished job and the one that is to continue it.
void check_same_job(const UnfinishedJob& unfinished, const Json& identity,
                    const std::filesystem::path& output);

class JobJournal {
 public:
  // Begins one in OUT/.partial, which exists.
  static JobJournal create(const PlannedJob& job, const Json& identity);
  // Goes on after `n_steps` finished steps.
  static JobJournal resume(const PlannedJob& job, size_t n_steps);

  void append(const StepRecord& record);  // of the next step; durable when it returns

  size_t n_steps() const { return n_steps_; }
  // The job is done: nothing is left of it but its result.
  static void remove(const std::filesystem::path& output);

 private:
  JobJournal(Journal journal, size_t n_steps) : journal_(std::move(journal)), n_steps_(n_steps) {}

  Journal journal_;
  size_t n_steps_;
};

}  // namespace qround::quant
