#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/draft_bench.h"
#include "cli/model_location.h"
#include "cli/op_meter.h"
#include "cli/read_speed.h"
#include "cli/text_model.h"
#include "model/model.h"

namespace qround {
namespace {

constexpr int64_t kChunk = 512;  // tokens of a prompt in one forward pass

struct Options {
  std::string directory;
  ComputeOptions compute;
  std::string prompt_file;
  int64_t prompt = 512, decode = 128;
  std::vector<int64_t> batches = {1, 4, 16};
  std::vector<int> depths;  // of drafts
  bool json = false;
};

class Stopwatch {
 public:
  double seconds() const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    return elapsed.count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What one batch size gave.
struct Case {
  int64_t batch = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  double prefill_metered_seconds = 0, decode_metered_seconds = 0;  // of the run that gave the parts
  double plain_read = 0;  // bytes per second, the better of before and after
  PartTotals prefill, decode;
};

// Runs sequences of random tokens side by side. On the host the operations measure themselves while
// the whole is measured; a device does not wait between operations then and repeats recorded
// passes, so that operations are measured in a second run.
class CaseRun {
 public:
  CaseRun(const Model& model, const Executor& executor, const Options& options)
      : model_(model),
        executor_(executor),
        meter_(executor.ops),
        metered_{.ops = meter_.table(), .context = executor.context},
        options_(options) {}

  Case run(int64_t batch, const ReadSpeed& read_speed) {
    if (model_.memory().is_host) return run(batch, read_speed, metered_);
    Case result = run(batch, read_speed, executor_);
    const Case parts = run(batch, read_speed, metered_);
    result.prefill = parts.prefill;
    result.decode = parts.decode;
    result.prefill_metered_seconds = parts.prefill_seconds;
    result.decode_metered_seconds = parts.decode_seconds;
    return result;
  }

 private:
  Case run(int64_t batch, const ReadSpeed& read_speed, const Executor& executor) {
    Case result{.batch = batch, .plain_read = read_speed.measure()};
    std::vector<SequenceState> states;
    states.reserve(static_cast<size_t>(batch));
    for (int64_t s = 0; s < batch; ++s) states.push_back(model_.empty_state());
    hidden_ = {model_.memory(), std::max(kChunk, batch) * model_.config().hidden};
    logits_ = {model_.memory(), batch * model_.config().vocab};
    next_ids_ = {model_.memory(), batch};

    meter_.reset();
    const Stopwatch prefill;
    for (SequenceState& state : states) take_in_prompt(state, executor);
    model_.memory().synchronize(nullptr);
    result.prefill_seconds = result.prefill_metered_seconds = prefill.seconds();
    result.prefill = meter_.totals();

    std::vector<SequenceRows> rows;
    for (SequenceState& state : states) rows.push_back({.state = &state, .tokens = 1});
    std::vector<int32_t> ids(static_cast<size_t>(batch));
    for (int32_t& id : ids) id = next_id();
    step(ids, rows, executor);  // the first one brings memory in
    meter_.reset();
    const Stopwatch decode;
    for (int64_t i = 0; i < options_.decode; ++i) step(ids, rows, executor);
    result.decode_seconds = result.decode_metered_seconds = decode.seconds();
    result.decode = meter_.totals();
    result.plain_read = std::max(result.plain_read, read_speed.measure());
    return result;
  }

  int32_t next_id() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((random_ >> 33) % static_cast<uint64_t>(model_.config().vocab));
  }

  void take_in_prompt(SequenceState& state, const Executor& executor) {
    std::vector<int32_t> ids(static_cast<size_t>(options_.prompt));
    for (int32_t& id : ids) id = next_id();
    for (size_t done = 0; done < ids.size(); done += kChunk) {
      const size_t count = std::min<size_t>(kChunk, ids.size() - done);
      model_.forward(std::span(ids).subspan(done, count), state, hidden_.data(), executor);
    }
    head(1, executor);
  }

  // One token of every sequence; `ids` becomes the likeliest next ones.
  void step(std::vector<int32_t>& ids, std::span<SequenceRows> rows, const Executor& executor) {
    for (SequenceRows& row : rows) row.first_position = row.state->tokens();
    model_.forward(ids, rows, hidden_.data(), executor);
    const auto count = static_cast<int64_t>(ids.size());
    head(count, executor);
    executor.ops.largest_in_rows({.x = logits_.data(),
                                  .places = next_ids_.data(),
                                  .rows = count,
                                  .width = model_.config().vocab},
                                 executor.context);
    next_ids_.download(ids);
  }

  void head(int64_t rows, const Executor& executor) {
    meter_.linear_is(WorkPart::head);
    model_.logits(hidden_.data(), rows, logits_.data(), executor);
    meter_.linear_is(WorkPart::linear);
  }

  const Model& model_;
  const Executor& executor_;
  OpMeter meter_;
  const Executor metered_;
  const Options& options_;
  ops::Buffer<float> hidden_, logits_;
  ops::Buffer<int32_t> next_ids_;
  uint64_t random_ = 1;
};

// Figures of a case that people ask for.
struct Figures {
  double prefill_rate, decode_rate;   // tokens per second
  double bytes_per_token, read_rate;  // of decoding
  double of_plain_read;               // a share

  Figures(const Case& c, const Options& options) {
    const auto decoded = static_cast<double>(c.batch * options.decode);
    prefill_rate = static_cast<double>(c.batch * options.prompt) / c.prefill_seconds;
    decode_rate = decoded / c.decode_seconds;
    bytes_per_token = static_cast<double>(c.decode.all_bytes()) / decoded;
    read_rate = static_cast<double>(c.decode.all_bytes()) / c.decode_seconds;
    of_plain_read = read_rate / c.plain_read;
  }
};

Json parts_json(const PartTotals& totals, double seconds, double tokens) {
  Json parts = Json::object({});
  double rest = seconds;
  for (size_t part = 0; part < kPartNames.size(); ++part) {
    rest -= totals.seconds[part];
    parts.set(
        kPartNames[part],
        Json::object({{"microseconds_per_token", 1e6 * totals.seconds[part] / tokens},
                      {"bytes_per_token", static_cast<double>(totals.bytes[part]) / tokens}}));
  }
  parts.set("between operations", Json::object({{"microseconds_per_token", 1e6 * rest / tokens}}));
  return parts;
}

Json case_json(const Case& c, const Options& options) {
  const Figures figures(c, options);
  return Json::object(
      {{"batch", c.batch},
       {"prompt", options.prompt},
       {"decode", options.decode},
       {"prefill_tokens_per_s", figures.prefill_rate},
       {"decode_tokens_per_s", figures.decode_rate},
       {"decode_bytes_per_token", figures.bytes_per_token},
       {"decode_bytes_per_s", figures.read_rate},
       {"plain_read_bytes_per_s", c.plain_read},
       {"decode_percent_of_plain_read", 100 * figures.of_plain_read},
       {"prefill_parts", parts_json(c.prefill, c.prefill_metered_seconds,
                                    static_cast<double>(c.batch * options.prompt))},
       {"decode_parts", parts_json(c.decode, c.decode_metered_seconds,
                                   static_cast<double>(c.batch * options.decode))}});
}

void print_parts(const char* what, const PartTotals& totals, double seconds, double tokens) {
  fmt::print("  {} by part, microseconds a token (GB/s):", what);
  double rest = seconds;
  for (size_t part = 0; part < kPartNames.size(); ++part) {
    const double spent = totals.seconds[part];
    rest -= spent;
    fmt::print("{} {} {:.0f}", part == 0 ? "" : ",", kPartNames[part], 1e6 * spent / tokens);
    if (totals.bytes[part] > 0)
      fmt::print(" ({:.1f})", static_cast<double>(totals.bytes[part]) / spent / 1e9);
  }
  fmt::print(", between {:.0f}\n", 1e6 * rest / tokens);
}

void print_case(const Case& c, const Options& options) {
  const Figures figures(c, options);
  fmt::print("batch {}: prefill {:.1f} tokens/s, decode {:.1f} tokens/s\n", c.batch,
             figures.prefill_rate, figures.decode_rate);
  fmt::print(
      "  decoding reads {:.1f} MB a token at {:.1f} GB/s: {:.0f} % of a plain read ({:.1f})\n",
      figures.bytes_per_token / 1e6, figures.read_rate / 1e9, 100 * figures.of_plain_read,
      c.plain_read / 1e9);
  print_parts("prefill", c.prefill, c.prefill_metered_seconds,
              static_cast<double>(c.batch * options.prompt));
  print_parts("decode", c.decode, c.decode_metered_seconds,
              static_cast<double>(c.batch * options.decode));
}

Json draft_case_json(const DraftBenchCase& c) {
  return Json::object(
      {{"batch", c.batch},
       {"mtp", c.depth},
       {"prefill_tokens_per_s", static_cast<double>(c.prompt_tokens) / c.prefill_seconds},
       {"decode_tokens_per_s", static_cast<double>(c.decoded_tokens) / c.decode_seconds},
       {"drafted", c.drafted},
       {"accepted", c.accepted},
       {"passes", c.passes}});
}

void print_draft_case(const DraftBenchCase& c) {
  fmt::print("engine, batch {}, {} drafts: prefill {:.1f} tokens/s, decode {:.1f} tokens/s",
             c.batch, c.depth, static_cast<double>(c.prompt_tokens) / c.prefill_seconds,
             static_cast<double>(c.decoded_tokens) / c.decode_seconds);
  if (c.drafted > 0)
    fmt::print(", {:.1f} % of {} drafts accepted",
               100 * static_cast<double>(c.accepted) / static_cast<double>(c.drafted), c.drafted);
  fmt::print("\n");
}

// The cases with drafts; printed unless JSON is asked for.
Json::Array run_draft_cases(const Model& model, const ops::OpTable& ops,
                            std::span<const std::vector<int32_t>> prompts, const Options& options) {
  Json::Array rows;
  for (const int64_t batch : options.batches) {
    const DraftBenchRun run{.prompts = prompts.first(static_cast<size_t>(batch)),
                            .decode = options.decode,
                            .options = {.device_memory_bytes = options.compute.gpu_memory_bytes(),
                                        .threads = options.compute.thread_count(),
                                        .activations = options.compute.activations}};
    for (const int depth : options.depths) {
      const DraftBenchCase result = bench_drafts(model, ops, run, depth);
      if (options.json)
        rows.push_back(draft_case_json(result));
      else
        print_draft_case(result);
    }
  }
  return rows;
}

// The prompts of the cases with drafts; none without such cases.
std::vector<std::vector<int32_t>> draft_prompts(const Model& model,
                                                const std::filesystem::path& directory,
                                                const Options& options) {
  if (options.depths.empty()) return {};
  if (!model.has_mtp())
    throw Error("this checkpoint has no MTP head").file(directory).hint("leave out --mtp");
  const int64_t count = *std::max_element(options.batches.begin(), options.batches.end());
  if (options.prompt_file.empty())
    return random_prompts(count, options.prompt, model.config().vocab);
  return prompts_of_text(directory, options.prompt_file, count, options.prompt);
}

// Bytes of states and of keys and values of the largest batch.
int64_t planned_state_bytes(const ModelConfig& config, const Options& options) {
  const int64_t batch = *std::max_element(options.batches.begin(), options.batches.end());
  const auto layers = std::count(config.mixers.begin(), config.mixers.end(), MixerKind::attention);
  const int64_t kv = pages_for(options.prompt + options.decode + 1) * kKvPageTokens * 2 * layers *
                     config.attention.kv_heads * config.attention.head_dim;
  return batch * (recurrent_floats(config) + kv) * int64_t{sizeof(float)};
}

int run(const Options& options) {
  const auto directory = model_directory(options.directory);
  PeakMemory memory;
  const Stopwatch load;
  const Model model = load_model(directory, options.compute);
  const double load_seconds = load.seconds();
  if (options.prompt + options.decode + 1 > model.config().max_positions)
    throw Error("prompt and decoded tokens are more than the model's context")
        .expected(fmt::format("at most {} tokens", model.config().max_positions))
        .actual(fmt::format("{}", options.prompt + options.decode + 1));
  const auto prompts = draft_prompts(model, directory, options);
  ops::Workspace workspace(model.memory());
  const ops::OpTable& table = options.compute.table();
  PassGraphs graphs(table.graphs);
  const Executor executor{
      .ops = table, .context = options.compute.context(workspace), .graphs = &graphs};
  const ReadSpeed read_speed(executor.context.threads, model.memory());
  const bool exact = options.compute.activations == ops::Activations::f32;
  const int64_t planned = planned_state_bytes(model.config(), options);
  if (!options.json)
    fmt::print("{}: backend {}, {} threads, {}, inputs of int4 maps in {}, loaded in {:.2f} s\n",
               directory.string(), table.name, executor.context.threads.count, ops::simd_target(),
               exact ? "f32" : "int8", load_seconds);

  CaseRun cases(model, executor, options);
  Json::Array rows;
  for (const int64_t batch : options.batches) {
    const Case result = cases.run(batch, read_speed);
    if (options.json)
      rows.push_back(case_json(result, options));
    else
      print_case(result, options);
  }
  Json::Array draft_rows;
  if (!prompts.empty()) draft_rows = run_draft_cases(model, table, prompts, options);
  const auto peak = static_cast<int64_t>(memory.peak_bytes());
  if (options.json) {
    fmt::print("{}\n", Json::object({{"model", directory.string()},
                                     {"backend", table.name},
                                     {"threads", executor.context.threads.count},
                                     {"simd", ops::simd_target()},
                                     {"activations", exact ? "f32" : "int8"},
                                     {"load_seconds", load_seconds},
                                     {"planned_state_bytes", planned},
                                     {"peak_private_bytes", peak},
                                     {"cases", Json(std::move(rows))},
                                     {"draft_cases", Json(std::move(draft_rows))}})
                           .dump({.indent = 2}));
  } else {
    fmt::print(
        "memory: {:.0f} MB of states planned for the largest batch; {:.0f} MB private at "
        "most, 268 MB of it for the plain read\n",
        static_cast<double>(planned) / 1e6, static_cast<double>(peak) / 1e6);
  }
  return 0;
}

}  // namespace

std::function<int()> setup_bench_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.add_option("--prompt", options->prompt, "Tokens of each prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--decode", options->decode, "Tokens decoded after it")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--batch", options->batches, "Sequences side by side, one case for each number")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  app.add_option("--mtp", options->depths,
                 "Also run the engine with so many drafts a step, one case for each number and "
                 "batch; 0: none")
      ->delimiter(',')
      ->check(CLI::Range(0, DraftOptions::kMaxDepth));
  app.add_option("--prompt-file", options->prompt_file,
                 "With --mtp: prompts are cut from this text; without, tokens are random, and "
                 "random text is hard to draft")
      ->check(CLI::ExistingFile);
  app.add_flag("--json", options->json, "Print JSON");
  add_int8_options(app, options->compute);
  add_compute_options(app, options->compute);
  add_gpu_memory_option(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
