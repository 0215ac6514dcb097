// What `plan` and `quantize` have in common: which checkpoint becomes which.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/common_options.h"
#include "quant/job.h"

namespace CLI {
class App;
}

namespace qround {

struct JobOptions {
  std::vector<quant::PolicyRule> rules;  // in the order given
  int64_t group_size = 128;
  std::string shard_size = "4G";
  std::string memory;      // empty: what is free
  std::string gpu_memory;  // empty: no budget
  ComputeOptions compute;

  quant::JobSpec spec(const std::string& source, const std::string& output) const;
};
void add_job_options(CLI::App& app, JobOptions& options);

// Progress on standard error: a bar on a terminal, lines elsewhere; silent when `quiet`.
ProgressSink standard_error_sink(bool quiet);

}  // namespace qround
