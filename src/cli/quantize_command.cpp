#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/tune_options.h"

namespace qround {
namespace {

struct Options {
  std::string source, output;
  JobOptions job;
  TuneOptions tune;
  bool json = false, quiet = false;
};

int run(const Options& options) {
  quant::JobSpec spec = options.job.spec(options.source, options.output);
  options.tune.apply(spec);
  const quant::PlannedJob job = quant::plan_job(spec);
  if (!options.quiet && !options.json) fmt::print("{}\n", plan_text(job.plan));
  std::fflush(stdout);
  Progress progress(standard_error_sink(options.quiet));
  const Report report = quant::run_job(job, progress, &interrupt_flag());
  if (options.json) {
    fmt::print("{}\n", to_json(report).dump({.indent = 2}));
  } else {
    fmt::print("{}: {} of {} linear maps are int4; {} became {}; {} rules checked, {} warnings\n",
               options.output, report.linears_quantized, report.linears,
               bytes_text(report.bytes_before), bytes_text(report.bytes_after),
               report.rules_checked, report.rule_warnings);
  }
  return 0;
}

}  // namespace

std::function<int()> setup_quantize_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("source", options->source, "Directory of the BF16 checkpoint")->required();
  app.add_option("output", options->output, "Directory to write; must be empty or absent")
      ->required();
  add_tune_options(app, options->tune);
  app.add_flag("--json", options->json, "Print the report as JSON");
  app.add_flag("-q,--quiet", options->quiet, "No plan, no progress");
  add_job_options(app, options->job);
  return [options] { return run(*options); };
}

}  // namespace qround
