#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/model_location.h"
#include "cli/record.h"
#include "cli/verify_text.h"
#include "verify/fix.h"
#include "verify/verify.h"

namespace qround {
namespace {

struct Options {
  std::string directory, source, explain, modules, report, fix;
  std::vector<int64_t> tps;
  std::vector<std::string> consumers;
  int threads = 0;
  bool json = false, quiet = false, copy = false;

  Threads thread_count() const { return threads > 0 ? Threads{threads} : Threads::all(); }
};

int check(const Options& options) {
  if (options.directory.empty())
    throw Error("verify needs a directory").hint("qround verify DIR; or --explain ID");
  std::filesystem::path directory = model_directory(options.directory);
  if (!options.fix.empty()) {
    const auto shards = options.copy ? verify::Shards::copied : verify::Shards::linked;
    for (const std::string& line : verify::write_fixed(directory, options.fix, shards))
      fmt::print(stderr, "{}\n", line);
    directory = options.fix;
  }
  std::optional<Checkpoint> source;
  if (!options.source.empty()) source = Checkpoint::open(options.source);
  Progress progress(standard_error_sink(options.quiet));
  const verify::Outcome outcome = verify::run({.directory = directory,
                                               .source = source ? &*source : nullptr,
                                               .tps = options.tps,
                                               .consumers = options.consumers,
                                               .threads = options.thread_count(),
                                               .stop = &interrupt_flag()},
                                              progress);
  record_results(directory, options.report, "verify", to_json(outcome));
  if (options.json) {
    fmt::print("{}\n", to_json(outcome).dump({.indent = 2}));
  } else {
    fmt::print("{}", outcome_text(directory.string(), outcome));
  }
  return outcome.passed() ? 0 : exit_status(ErrorKind::check);
}

int list_modules(const Options& options) {
  const verify::Consumer& consumer = *verify::select_consumers({options.modules}).back();
  for (const verify::ModuleRow& row :
       verify::modules_of(model_directory(options.directory), consumer)) {
    const verify::Resolution& resolution = row.resolution;
    if (options.json) {
      const Json bits = resolution.refusal.empty() ? Json(resolution.settings.bits) : Json();
      fmt::print("{}\n", Json::object({{"module", row.module},
                                       {"file_bits", row.file_bits},
                                       {"config_bits", bits},
                                       {"group_size", resolution.settings.group_size},
                                       {"refusal", resolution.refusal}})
                             .dump());
    } else {
      fmt::print("{:>2} {:>2}  {}  {}\n", row.file_bits, resolution.settings.bits, row.module,
                 resolution.refusal);
    }
  }
  return 0;
}

int run(const Options& options) {
  if (!options.modules.empty()) return list_modules(options);
  if (options.explain.empty()) return check(options);
  fmt::print("{}", explanation_text(options.explain));
  return 0;
}

}  // namespace

std::function<int()> setup_verify_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Directory of the int4 checkpoint");
  app.add_option("--source", options->source,
                 "Directory of the checkpoint it was made from; needed by the rules that compare");
  app.add_option(
         "--tp", options->tps,
         "Numbers of GPUs it has to be split among, as 1,2,4; default: verdicts for 1, 2, 4 "
         "and 8, without rules about them")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  app.add_option("--consumer", options->consumers,
                 "Give verdicts for these alone: vllm, sglang, transformers, or one release group")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--fix", options->fix,
                 "Write configuration and index anew into this directory, which must be empty or "
                 "absent, with links to the shards, and check it instead");
  app.add_flag("--copy", options->copy, "With --fix: copy the shards");
  app.add_option("--report", options->report,
                 "Write the results into this report, member \"verify\"; default: DIR/report.json, "
                 "where there is one");
  app.add_option("--explain", options->explain,
                 "Print a rule's reason, source and mend, or what a consumer needs");
  app.add_option("--modules", options->modules,
                 "List every module as this consumer's newest release builds it: bits in the file, "
                 "bits by the configuration, name");
  app.add_option("--threads", options->threads, "Threads to use; 0: all processors")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  app.add_flag("-q,--quiet", options->quiet, "No progress");
  return [options] { return run(*options); };
}

}  // namespace qround
