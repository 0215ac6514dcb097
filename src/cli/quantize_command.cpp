#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/job_status.h"
#include "cli/tune_options.h"

namespace qround {
namespace {

struct Options {
  std::string source, output, status;
  JobOptions job;
  TuneOptions tune;
  bool json = false, quiet = false, restart = false;
};

quant::JobSpec spec_of(const Options& options) {
  if (options.source.empty() || options.output.empty()) {
    throw Error("quantize needs two directories")
        .expected("qround quantize SOURCE OUTPUT")
        .hint("--status OUTPUT tells how far a job is");
  }
  options.tune.require_data();
  quant::JobSpec spec = options.job.spec(options.source, options.output);
  options.tune.apply(spec);
  spec.restart = options.restart;
  return spec;
}

int run(const Options& options) {
  if (!options.status.empty()) {
    print_job_status(options.status, options.json);
    return 0;
  }
  const quant::JobSpec spec = spec_of(options);
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
               report.rules_checked(), report.rule_warnings());
  }
  return 0;
}

}  // namespace

std::function<int()> setup_quantize_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("source", options->source, "Directory of the BF16 checkpoint");
  app.add_option(
      "output", options->output,
      "Directory to write: empty, absent, or left by the same command, which it continues");
  app.add_flag("--restart", options->restart,
               "Throw away what an unfinished job left in the output directory");
  app.add_option("--status", options->status, "Only tell how far the job in this directory is");
  add_tune_options(app, options->tune);
  app.add_flag("--json", options->json, "Print the report as JSON");
  app.add_flag("-q,--quiet", options->quiet, "No plan, no progress");
  add_job_options(app, options->job);
  return [options] { return run(*options); };
}

}  // namespace qround
