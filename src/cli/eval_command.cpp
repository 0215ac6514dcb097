#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/hash.h"
#include "base/report.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/eval_text.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/model_location.h"
#include "cli/record.h"
#include "cli/size.h"
#include "eval/evaluation.h"
#include "eval/row_file.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

struct Options {
  std::string directory, source, baseline, data, choices, protocol;
  std::string memory = "1G", rows, report, state;
  std::optional<int64_t> context, stride, limit, draft_prompts;
  std::optional<int32_t> bos;
  std::optional<double> max_kld, max_ppl_ratio;
  double state_seconds = 60;
  ComputeOptions compute;
  bool noise_floor = false, ablate = false, json = false, quiet = false;
};

// The pocket model's own text by the protocol its figures were always given in: 128 windows of 256
// tokens.
constexpr std::string_view kPocketData = "pocket";
constexpr int64_t kPocketWindows = 128;
constexpr int64_t kPocketPrompts = 8;

bool evaluates_text(const Options& options) {
  return !options.data.empty() || options.choices.empty();
}
bool is_pocket(const Options& options) {
  return options.data.empty() || options.data == kPocketData;
}

eval::Protocol protocol_of(const Options& options) {
  const bool pocket = is_pocket(options);
  eval::Protocol protocol = eval::protocol_named(!options.protocol.empty() ? options.protocol
                                                 : pocket                  ? "windows"
                                                                           : "llama.cpp");
  if (pocket && options.protocol.empty()) protocol.max_windows = kPocketWindows;
  if (options.context) {
    // A named protocol keeps its shape at other sizes.
    protocol.warm_up = protocol.warm_up * *options.context / protocol.context;
    if (protocol.stride == protocol.context) protocol.stride = *options.context;
    protocol.context = *options.context;
  }
  if (options.stride) protocol.stride = *options.stride;
  if (options.limit) protocol.max_windows = *options.limit;
  protocol.bos = options.bos;
  return protocol;
}

// One file per set of directories and data in the user's cache; empty where there is none.
fs::path state_file(const Options& options, const eval::EvaluationSpec& spec) {
  if (!options.state.empty()) return options.state;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  fs::path folder;
  if (cache != nullptr && *cache != '\0')
    folder = cache;
  else if (home != nullptr && *home != '\0')
    folder = fs::path(home) / ".cache";
  else
    return {};
  folder /= "qround";
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return {};
  const std::string job =
      fmt::format("{}\n{}\n{}\n{}\n{}", fs::current_path().string(), spec.directory.string(),
                  spec.source.string(), spec.data.string(), options.choices);
  return folder / fmt::format("eval-{}.state", sha256_hex(job).substr(0, 16));
}

// Whether the checkpoint keeps within the bounds that were asked for; says where not.
bool within_bounds(const Options& options, const eval::Evaluation& e) {
  const auto& divergence = lane_named(e, "result").divergence;
  if (!divergence) return true;
  const auto check = [](const char* name, double value, std::optional<double> bound) {
    // A NaN is out of every bound.
    if (!bound || value <= *bound) return true;
    fmt::print(stderr, "qround: {} is {:.6g}, above {:.6g}\n", name, value, *bound);
    return false;
  };
  const bool kld = check("the KL divergence", divergence->mean.value, options.max_kld);
  return check("the perplexity ratio", divergence->perplexity_ratio.value, options.max_ppl_ratio) &&
         kld;
}

int run(const Options& options) {
  if (options.source.empty() && (options.max_kld || options.max_ppl_ratio))
    throw Error("a bound on the difference to the source needs --source");
  eval::EvaluationSpec spec;
  spec.directory = model_directory(options.directory);
  if (!options.source.empty()) spec.source = model_directory(options.source);
  if (!options.baseline.empty()) spec.baseline = model_directory(options.baseline);
  spec.data = is_pocket(options) ? pocket_directory() / "evaluation.txt" : fs::path(options.data);
  spec.protocol = protocol_of(options);
  spec.noise_floor = options.noise_floor;
  spec.ablate = options.ablate;
  spec.drafting.prompts = options.draft_prompts.value_or(is_pocket(options) ? kPocketPrompts : 0);
  Progress progress(standard_error_sink(options.quiet));
  spec.run = {.threads = options.compute.thread_count(),
              .backend = options.compute.backend,
              .memory_bytes = parse_size(options.memory),
              .state_file = state_file(options, spec),
              .state_seconds = options.state_seconds,
              .progress = &progress,
              .stop = &interrupt_flag()};
  Json figures = Json::object();
  bool passed = true;
  if (evaluates_text(options)) {
    const eval::Evaluation result = run_evaluation(spec);
    figures = to_json(result);
    if (!options.rows.empty()) write_rows(options.rows, result);
    if (!options.json) print_evaluation(result);
    passed = within_bounds(options, result);
  }
  if (!options.choices.empty()) {
    const eval::ChoiceEvaluation result = run_choice_evaluation(spec, options.choices);
    figures.set("choices", to_json(result));
    if (!options.json) print_choices(result);
  }
  if (options.json) fmt::print("{}\n", figures.dump({.indent = 2}));
  record_results(spec.directory, options.report, "eval", figures);
  return passed ? 0 : exit_status(ErrorKind::check);
}

void add_text_options(CLI::App& app, Options& options) {
  app.add_option("--data", options.data,
                 "Text or jsonl file, or `pocket`: the pocket model's evaluation text (default)");
  app.add_option("--protocol", options.protocol,
                 "How the text is cut and scored: windows, llama.cpp, hf; default: windows for "
                 "pocket, else llama.cpp");
  app.add_option("--context", options.context, "Tokens of a window");
  app.add_option("--stride", options.stride, "Tokens from one window to the next");
  app.add_option("--bos", options.bos, "Token to put in place of each window's first");
  app.add_option("--limit", options.limit, "At most so many windows; 0: all");
  app.add_option("--choices", options.choices,
                 "Multiple-choice questions: jsonl of question, choices, answer");
}

void add_figure_options(CLI::App& app, Options& options) {
  app.add_option("--baseline", options.baseline,
                 "Another checkpoint of the same source: by how much DIR diverges less");
  app.add_flag("--noise-floor", options.noise_floor,
               "The source against itself, added up in another order");
  app.add_flag("--ablate", options.ablate,
               "What each class of int4 tensors costs: put back to the source's, one at a time");
  app.add_option("--draft-prompts", options.draft_prompts,
                 "Prompts for real drafting with the MTP head; default: 8 for pocket, else 0. "
                 "Reads the networks once per token")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--max-kld", options.max_kld, "Exit 1 when the mean KL divergence is larger");
  app.add_option("--max-ppl-ratio", options.max_ppl_ratio,
                 "Exit 1 when the perplexity grew by more than this factor");
}

}  // namespace

std::function<int()> setup_eval_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Checkpoint to evaluate; default: the pocket model");
  app.add_option("--source", options->source, "Checkpoint it was made from, to compare with");
  add_text_options(app, *options);
  add_figure_options(app, *options);
  app.add_option("--memory", options->memory, "Room for hidden states, for example 512M, 4G")
      ->capture_default_str();
  app.add_option("--state", options->state,
                 "File that keeps the work of a killed run; default: in the user's cache");
  app.add_option("--state-seconds", options->state_seconds, "Least time between its writings")
      ->capture_default_str();
  app.add_option("--rows", options->rows,
                 "Safetensors file to write with the scores of every row, for comparisons");
  app.add_option("--report", options->report,
                 "Report to add the figures to; default: DIR/report.json if there is one");
  app.add_flag("--json", options->json, "Print the figures as JSON");
  app.add_flag("-q,--quiet", options->quiet, "No progress");
  add_compute_options(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
