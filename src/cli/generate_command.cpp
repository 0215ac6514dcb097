#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/answer.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/draft_options.h"
#include "cli/model_location.h"

namespace qround {
namespace {

struct Options {
  std::string directory, prompt, prompt_file;
  ComputeOptions compute;
  SamplingFlags sampling;
  DraftFlags drafts;
  std::vector<std::string> stops;
  int64_t max_tokens = 256, context = 0;
  bool chat = false, thinking = false, json = false, quiet = false, show_special = false;
};

std::string read_prompt(const Options& options) {
  if (!options.prompt_file.empty()) return read_file(options.prompt_file);
  if (options.prompt != "-") return options.prompt;
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

std::string as_chat(const std::filesystem::path& directory, const std::string& prompt,
                    bool thinking) {
  const Json messages = Json::array({Json::object({{"role", "user"}, {"content", prompt}})});
  const Json variables = Json::object({{"enable_thinking", thinking}});
  return ChatTemplate::load(directory).render(
      messages, {.variables = variables, .add_generation_prompt = true});
}

Json answer_json(const Answer& answer) {
  Json::Array tokens(answer.tokens.begin(), answer.tokens.end());
  return Json::object({{"text", answer.text},
                       {"tokens", Json(std::move(tokens))},
                       {"finish_reason", finish_reason_name(answer.reason)},
                       {"timing", timing_json(answer.usage)}});
}

int run(const Options& options) {
  const std::filesystem::path directory = model_directory(options.directory);
  const TextModel text_model = TextModel::load(directory, options.compute);
  const std::string given = read_prompt(options);
  if (given.empty()) throw Error("the prompt is empty").hint("give a text with -p or --file");
  const std::string prompt = options.chat ? as_chat(directory, given, options.thinking) : given;

  Engine engine(text_model.model, options.compute.table(),
                {.context = options.context,
                 .max_sequences = 1,
                 .device_memory_bytes = options.compute.gpu_memory_bytes(),
                 .prefix_cache_share = 0,
                 .drafts = options.drafts.resolve(),
                 .threads = options.compute.thread_count(),
                 .activations = options.compute.activations});
  Request request{.tokens = text_model.tokenizer.encode(prompt),
                  .sampling = options.sampling.resolve(text_model.generation_config),
                  .max_tokens = options.max_tokens,
                  .stop_tokens = text_model.stop_tokens};
  const AnswerOptions answer_options{.stops = options.stops, .skip_special = !options.show_special};
  const auto show = [&](std::string_view piece) {
    if (options.json) return;
    fmt::print("{}", piece);
    std::fflush(stdout);
  };
  const Answer answer =
      generate_text(text_model.tokenizer, engine, std::move(request), answer_options, show);
  fmt::print("{}\n", options.json ? answer_json(answer).dump() : "");
  if (!options.quiet && !options.json) fmt::print(stderr, "{}\n", timing_text(answer.usage));
  return answer.reason == FinishReason::cancelled ? exit_status(ErrorKind::interrupted) : 0;
}

}  // namespace

std::function<int()> setup_generate_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  auto* prompt =
      app.add_option("-p,--prompt", options->prompt, "Text to continue; - reads standard input");
  app.add_option("--file", options->prompt_file, "Read the text from a file")->excludes(prompt);
  app.add_flag("--chat", options->chat,
               "Put the text through the chat template as a user's message");
  app.add_flag("--thinking", options->thinking, "With --chat: let the model think first");
  app.add_option("-n,--max-tokens", options->max_tokens, "Most tokens to generate")
      ->check(CLI::Range(int64_t{1}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--ctx", options->context, "Context in tokens; 0: the model's maximum")
      ->check(CLI::Range(int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--stop", options->stops, "Text that ends the answer; may be given several times");
  app.add_flag("--special", options->show_special, "Show special tokens");
  app.add_flag("--json", options->json,
               "Print one JSON object: text, tokens, finish_reason, timing");
  app.add_flag("-q,--quiet", options->quiet, "No timing on standard error");
  add_draft_options(app, options->drafts);
  add_sampling_options(app, options->sampling);
  add_compute_options(app, options->compute);
  add_int8_options(app, options->compute);
  add_gpu_memory_option(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
