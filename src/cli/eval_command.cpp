#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/model_location.h"
#include "eval/evaluation.h"
#include "eval/row_file.h"

namespace qround {
namespace {

struct Options {
  std::string directory, source, data = "pocket", protocol, memory = "1G", rows;
  std::optional<int64_t> context, stride, limit;
  std::optional<int32_t> bos;
  std::optional<double> max_kld, max_ppl_ratio;
  ComputeOptions compute;
  bool json = false, quiet = false;
};

// The pocket model's own text by the protocol its figures were always given in: 128 windows of 256
// tokens.
constexpr std::string_view kPocketData = "pocket";
constexpr int64_t kPocketWindows = 128;

eval::Protocol protocol_of(const Options& options) {
  const bool pocket = options.data == kPocketData;
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

std::string text_of(const eval::Estimate& e, int digits) {
  return fmt::format("{:.{}f}  [{:.{}f}, {:.{}f}]", e.value, digits, e.low, digits, e.high, digits);
}

void print_lane(const eval::LaneFigures& lane) {
  fmt::print("{}\n  perplexity           {}\n", lane.name, text_of(lane.perplexity, 5));
  if (lane.divergence) {
    const eval::Divergence& d = *lane.divergence;
    fmt::print("  perplexity ratio     {}\n", text_of(d.perplexity_ratio, 5));
    fmt::print("  KL divergence, nats  {}\n", text_of(d.mean, 6));
    fmt::print("    median {:.6f}, 90 % {:.6f}, 99 % {:.6f}, 99.9 % {:.6f}, largest {:.4f}\n",
               d.median, d.p90, d.p99, d.p999, d.max);
    fmt::print("  same top token       {}, {} of {} rows differ\n", text_of(d.top_agreement, 5),
               d.top_differs, d.rows);
  }
  for (size_t i = 0; i < lane.drafts.size(); ++i) {
    fmt::print("  MTP draft {}          {}, {} of {} rows\n", i + 1,
               text_of(lane.drafts[i].agreement, 4), lane.drafts[i].hits, lane.drafts[i].rows);
  }
}

void print_layers(const eval::LaneFigures& lane) {
  fmt::print("  layer  relative error of its output  rows with other experts\n");
  for (size_t i = 0; i < lane.layers.size(); ++i) {
    const eval::LayerFigures& layer = lane.layers[i];
    fmt::print("  {:>5}  {:>28.6f}  {}\n", i, layer.relative_error,
               layer.expert_rows.empty() ? "" : fmt::format("{:>22.3f} %", 100 * layer.rerouted));
  }
}

void print(const eval::Evaluation& e) {
  fmt::print("{}{}\n", e.directory, e.source.empty() ? "" : " beside its source " + e.source);
  fmt::print("text {}, {} tokens; {} windows\n{}\n", e.text.name, e.text.tokens.size(), e.windows,
             describe(e.protocol));
  fmt::print("[95 % intervals from {} bootstrap draws of windows]\n\n", eval::kBootstrapDraws);
  for (const eval::LaneFigures& lane : e.lanes) print_lane(lane);
  for (const eval::LaneFigures& lane : e.lanes)
    if (lane.divergence) print_layers(lane);
  fmt::print("\n{:.1f} s, {} of private memory, backend {}\n", e.seconds,
             bytes_text(e.peak_memory_bytes), e.backend);
}

// Whether the checkpoint keeps within the bounds that were asked for; says where not.
bool within_bounds(const Options& options, const eval::Evaluation& e) {
  const auto& divergence = e.lanes.back().divergence;
  const auto check = [](const char* name, double value, std::optional<double> bound) {
    // A NaN is out of every bound.
    if (!bound || value <= *bound) return true;
    fmt::print(stderr, "qround: {} is {:.6g}, above {:.6g}\n", name, value, *bound);
    return false;
  };
  if (!divergence) return true;
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
  spec.data = options.data == kPocketData ? pocket_directory() / "evaluation.txt"
                                          : std::filesystem::path(options.data);
  spec.protocol = protocol_of(options);
  Progress progress(standard_error_sink(options.quiet));
  spec.run = {.threads = options.compute.thread_count(),
              .backend = options.compute.backend,
              .memory_bytes = parse_size(options.memory),
              .progress = &progress,
              .stop = &interrupt_flag()};
  const eval::Evaluation result = run_evaluation(spec);
  if (!options.rows.empty()) write_rows(options.rows, result);
  if (options.json)
    fmt::print("{}\n", to_json(result).dump({.indent = 2}));
  else
    print(result);
  return within_bounds(options, result) ? 0 : exit_status(ErrorKind::check);
}

}  // namespace

std::function<int()> setup_eval_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Checkpoint to evaluate; default: the pocket model");
  app.add_option("--source", options->source, "Checkpoint it was made from, to compare with");
  app.add_option("--data", options->data,
                 "Text or jsonl file, or `pocket`: the pocket model's evaluation text")
      ->capture_default_str();
  app.add_option("--protocol", options->protocol,
                 "How the text is cut and scored: windows, llama.cpp, hf; default: windows for "
                 "pocket, else llama.cpp");
  app.add_option("--context", options->context, "Tokens of a window");
  app.add_option("--stride", options->stride, "Tokens from one window to the next");
  app.add_option("--bos", options->bos, "Token to put in place of each window's first");
  app.add_option("--limit", options->limit, "At most so many windows; 0: all");
  app.add_option("--max-kld", options->max_kld, "Exit 1 when the mean KL divergence is larger");
  app.add_option("--max-ppl-ratio", options->max_ppl_ratio,
                 "Exit 1 when the perplexity grew by more than this factor");
  app.add_option("--memory", options->memory, "Room for hidden states, for example 512M, 4G")
      ->capture_default_str();
  app.add_option("--rows", options->rows,
                 "Safetensors file to write with the scores of every row, for comparisons");
  app.add_flag("--json", options->json, "Print the figures as JSON");
  app.add_flag("-q,--quiet", options->quiet, "No progress");
  add_compute_options(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
