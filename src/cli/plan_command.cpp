#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/job_options.h"
#include "cli/tune_options.h"

namespace qround {
namespace {

struct Options {
  std::string source, output;
  JobOptions job;
  TuneOptions tune;
  bool json = false;
};

int run(const Options& options) {
  quant::JobSpec spec = options.job.spec(options.source, options.output);
  options.tune.apply(spec);
  const quant::PlannedJob job = quant::plan_job(spec);
  fmt::print("{}",
             options.json ? to_json(job.plan).dump({.indent = 2}) + "\n" : plan_text(job.plan));
  std::fflush(stdout);
  check_resources(job.plan);
  return 0;
}

}  // namespace

std::function<int()> setup_plan_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("source", options->source,
                 "Directory of the BF16 checkpoint; default: the pocket model");
  app.add_option("output", options->output,
                 "Directory that would be written: its disk is looked at");
  app.add_flag("--json", options->json, "Print JSON");
  add_tune_options(app, options->tune);
  add_job_options(app, options->job);
  return [options] { return run(*options); };
}

}  // namespace qround
