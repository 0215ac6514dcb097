#include "cli/job_status.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/report.h"
#include "quant/job_journal.h"

namespace qround {
namespace {

double seconds_of(const quant::UnfinishedJob& job) {
  double seconds = 0;
  for (const quant::StepRecord& record : job.records) seconds += record.seconds;
  return seconds;
}

void print_unfinished(const quant::UnfinishedJob& job, bool json) {
  if (json) {
    Json::Array steps;
    for (size_t i = 0; i < job.records.size(); ++i) {
      steps.push_back(Json::object({{"step", job.steps[i]},
                                    {"seconds", job.records[i].seconds},
                                    {"tuning", job.records[i].tuning}}));
    }
    fmt::print("{}\n", Json::object({{"finished", false},
                                     {"steps_done", job.records.size()},
                                     {"steps", job.steps.size()},
                                     {"seconds", seconds_of(job)},
                                     {"done", Json(std::move(steps))},
                                     {"job", job.identity}})
                           .dump({.indent = 2}));
    return;
  }
  for (size_t i = 0; i < job.records.size(); ++i) {
    const quant::StepRecord& record = job.records[i];
    fmt::print("{:<28}{}", job.steps[i], duration_text(record.seconds));
    if (!record.tuning.is_null()) {
      fmt::print(", loss {:.4g} -> {:.4g}", record.tuning.at("loss_before").as_double(),
                 record.tuning.at("loss_after").as_double());
    }
    fmt::print("\n");
  }
  fmt::print("{} of {} steps are done, in {}{}; the command it was begun with continues\n",
             job.records.size(), job.steps.size(), duration_text(seconds_of(job)),
             job.records.size() < job.steps.size() ? ", next: " + job.steps[job.records.size()]
                                                   : ", next: publish and verify");
}

}  // namespace

void print_job_status(const std::filesystem::path& output, bool json) {
  const auto job = quant::find_unfinished_job(output);
  if (job) return print_unfinished(*job, json);
  std::error_code ignored;
  if (!std::filesystem::exists(output / kReportFileName, ignored)) {
    throw Error("no job was begun here").file(output).hint("name the output of a quantize command");
  }
  if (json) {
    fmt::print("{}\n", Json::object({{"finished", true}}).dump({.indent = 2}));
  } else {
    fmt::print("finished; {} says what was done\n", (output / kReportFileName).string());
  }
}

}  // namespace qround
