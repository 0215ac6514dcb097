#include "cli/job_options.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/model_location.h"
#include "cli/size.h"
#include "cli/version.h"

namespace qround {
namespace {

void add_rules(CLI::App& app, JobOptions& options, const char* flag,
               quant::PolicyRule::Action action, const char* text) {
  const auto add = [&options, action](const std::string& pattern) {
    options.rules.push_back({action, pattern});
  };
  app.add_option_function<std::vector<std::string>>(
         flag, [](const std::vector<std::string>&) {}, text)
      ->each(add)
      ->allow_extra_args(false);
}

}  // namespace

quant::JobSpec JobOptions::spec(const std::string& source, const std::string& output) const {
  quant::JobSpec spec;
  spec.source = model_directory(source);
  spec.output = output;
  spec.policy = {.scheme = {.group_size = group_size}, .rules = rules};
  spec.max_shard_bytes = parse_size(shard_size);
  if (!memory.empty()) spec.memory_budget_bytes = parse_size(memory);
  if (!gpu_memory.empty()) spec.gpu_memory_budget_bytes = parse_size(gpu_memory);
  spec.threads = compute.thread_count();
  spec.backend = compute.backend;
  spec.tool_version = kVersion;
  return spec;
}

void add_job_options(CLI::App& app, JobOptions& options) {
  add_rules(
      app, options, "--keep", quant::PolicyRule::Action::keep,
      "Keep the linear maps matching this pattern as they are; may be repeated, later rules win");
  add_rules(app, options, "--quantize", quant::PolicyRule::Action::quantize,
            "Quantize the linear maps matching this pattern; may be repeated, later rules win");
  app.add_option("--group-size", options.group_size, "Weights that share a scale: 32, 64 or 128")
      ->capture_default_str();
  app.add_option("--shard-size", options.shard_size, "Largest shard of the output")
      ->capture_default_str();
  app.add_option("--memory", options.memory,
                 "Most memory to take, such as 16G; hidden states beyond it go to the output's "
                 "disk; default: what is free");
  app.add_option("--gpu-memory", options.gpu_memory,
                 "Most of a GPU's memory to take, such as 24G; default: what is free");
  add_compute_options(app, options.compute);
}

ProgressSink standard_error_sink(bool quiet) {
  if (quiet) return {};
  ProgressSink sink;
  sink.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  sink.terminal = isatty(STDERR_FILENO) != 0;
  winsize size{};
  if (sink.terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    sink.columns = size.ws_col;
  return sink;
}

}  // namespace qround
