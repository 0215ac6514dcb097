#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/model_location.h"
#include "verify/verify.h"

namespace qround {
namespace {

struct Options {
  std::string directory, source;
  int threads = 0;
  bool json = false, quiet = false;
};

void print_finding(const verify::Finding& finding) {
  fmt::print("    {}{}{}\n", finding.tensor, finding.tensor.empty() ? "" : ": ", finding.message);
  if (!finding.expected.empty()) fmt::print("      expected {}\n", finding.expected);
  if (!finding.actual.empty()) fmt::print("      actual   {}\n", finding.actual);
}

void print_rule(const verify::RuleOutcome& rule) {
  const int64_t count = rule.findings.count();
  if (count == 0) return;
  fmt::print("  {} [{}] {} finding{}; matters to: {}\n", severity_name(rule.severity), rule.rule,
             count, count == 1 ? "" : "s", rule.applies_to);
  for (const verify::Finding& finding : rule.findings.first()) print_finding(finding);
  const auto hidden = count - static_cast<int64_t>(rule.findings.first().size());
  if (hidden > 0) fmt::print("    ... and {} more\n", hidden);
}

void print_outcome(const std::string& directory, const verify::Outcome& outcome) {
  fmt::print("{}\n", directory);
  for (const verify::RuleOutcome& rule : outcome.rules) print_rule(rule);
  fmt::print("{}: {} rules checked, {} errors, {} warnings\n",
             outcome.passed() ? "passed" : "FAILED", outcome.checked(),
             outcome.count(verify::Severity::error), outcome.count(verify::Severity::warning));
}

int run(const Options& options) {
  const std::filesystem::path directory = model_directory(options.directory);
  std::optional<Checkpoint> source;
  if (!options.source.empty()) source = Checkpoint::open(options.source);
  Progress progress(standard_error_sink(options.quiet));
  const verify::Outcome outcome =
      verify::run({.directory = directory,
                   .source = source ? &*source : nullptr,
                   .threads = options.threads > 0 ? Threads{options.threads} : Threads::all(),
                   .stop = &interrupt_flag()},
                  progress);
  if (options.json) {
    fmt::print("{}\n", to_json(outcome).dump({.indent = 2}));
  } else {
    print_outcome(options.directory, outcome);
  }
  return outcome.passed() ? 0 : exit_status(ErrorKind::check);
}

}  // namespace

std::function<int()> setup_verify_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Directory of the int4 checkpoint")->required();
  app.add_option("--source", options->source,
                 "Directory of the checkpoint it was made from; needed by the rules that compare");
  app.add_option("--threads", options->threads, "Threads to use; 0: all processors")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  app.add_flag("-q,--quiet", options->quiet, "No progress");
  return [options] { return run(*options); };
}

}  // namespace qround
