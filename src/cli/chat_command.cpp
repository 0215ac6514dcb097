#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "cli/answer.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/draft_options.h"
#include "cli/interrupt.h"
#include "cli/model_location.h"

namespace qround {
namespace {

constexpr std::string_view kThinkEnd = "</think>";
constexpr std::string_view kThinkBegin = "<think>";

struct Options {
  std::string directory, system, thinking = "show";
  ComputeOptions compute;
  SamplingFlags sampling;
  DraftFlags drafts;
  int64_t max_tokens = 1024, context = 0;
  bool quiet = false;
};

// Prints an answer as it arrives: what comes before </think> dimmed or not at all.
class AnswerPrinter {
 public:
  AnswerPrinter(bool starts_thinking, bool show_thinking)
      : thinking_(starts_thinking),
        show_thinking_(show_thinking),
        colour_(isatty(STDOUT_FILENO) != 0) {
    if (thinking_ && show_thinking_ && colour_) fmt::print("\x1b[2m");
  }

  void push(std::string_view piece) {
    if (!thinking_) return print(piece);
    pending_ += piece;
    const size_t end = pending_.find(kThinkEnd);
    if (end == std::string::npos) {
      // The end tag is one token of the family's vocabulary, but another vocabulary may split it.
      const size_t held = std::min(pending_.size(), kThinkEnd.size() - 1);
      think(pending_.substr(0, pending_.size() - held));
      pending_.erase(0, pending_.size() - held);
      return;
    }
    think(pending_.substr(0, end));
    std::string rest = pending_.substr(end + kThinkEnd.size());
    finish_thinking();
    print(rest);
  }
  void finish() {
    if (thinking_) {
      think(pending_);
      finish_thinking();
    }
    fmt::print("\n");
  }

 private:
  void print(std::string_view text) {
    if (at_start_) {
      const size_t first = text.find_first_not_of('\n');
      if (first == std::string_view::npos) return;
      text.remove_prefix(first);
      at_start_ = false;
    }
    fmt::print("{}", text);
    std::fflush(stdout);
  }
  void think(std::string_view text) {
    if (!show_thinking_) return;
    fmt::print("{}", text);
    std::fflush(stdout);
  }
  void finish_thinking() {
    thinking_ = false;
    if (!show_thinking_) return;
    fmt::print("{}\n\n", colour_ ? "\x1b[0m" : "");
  }

  bool thinking_, show_thinking_, colour_;
  bool at_start_ = true;
  std::string pending_;
};

Json message(const char* role, std::string content) {
  return Json::object({{"role", role}, {"content", std::move(content)}});
}

// What the model said, as the template wants it back: reasoning apart from content.
Json assistant_message(const std::string& text, bool starts_thinking) {
  const size_t end = text.find(kThinkEnd);
  if (!starts_thinking || end == std::string::npos) return message("assistant", text);
  Json said = message("assistant", text.substr(end + kThinkEnd.size()));
  said.set("reasoning_content", text.substr(0, end));
  return said;
}

class Conversation {
 public:
  Conversation(const Options& options, const std::filesystem::path& directory)
      : options_(options),
        text_model_(TextModel::load(directory, options.compute)),
        template_(ChatTemplate::load(directory)),
        engine_(text_model_.model, options.compute.table(),
                {.context = options.context,
                 .max_sequences = 1,
                 .device_memory_bytes = options.compute.gpu_memory_bytes(),
                 .drafts = options.drafts.resolve(),
                 .threads = options.compute.thread_count(),
                 .activations = options.compute.activations}) {
    reset();
  }

  void reset() {
    messages_ = Json::array();
    if (!options_.system.empty())
      messages_.as_array().push_back(message("system", options_.system));
  }

  // One question and its answer.
  void turn(const std::string& question) {
    messages_.as_array().push_back(message("user", question));
    const Json variables = Json::object({{"enable_thinking", options_.thinking != "off"}});
    const std::string prompt =
        template_.render(messages_, {.variables = variables, .add_generation_prompt = true});
    const bool starts_thinking =
        prompt.rfind(kThinkBegin) != std::string::npos &&
        prompt.find(kThinkEnd, prompt.rfind(kThinkBegin)) == std::string::npos;
    AnswerPrinter printer(starts_thinking, options_.thinking == "show");
    const Answer answer = generate_text(text_model_.tokenizer, engine_, request(prompt), {},
                                        [&](std::string_view piece) { printer.push(piece); });
    printer.finish();
    if (answer.reason == FinishReason::cancelled) {
      clear_interrupt();
      fmt::print("[stopped]\n");
    }
    if (!options_.quiet) fmt::print(stderr, "[{}]\n", timing_text(answer.usage));
    messages_.as_array().push_back(assistant_message(answer.text, starts_thinking));
  }

 private:
  // The engine keeps the state at the ends of messages, so that only what is new is taken in.
  Request request(const std::string& prompt) const {
    Request request{.tokens = text_model_.tokenizer.encode(prompt),
                    .sampling = options_.sampling.resolve(text_model_.generation_config),
                    .max_tokens = options_.max_tokens,
                    .stop_tokens = text_model_.stop_tokens};
    request.borders = ends_of_messages(request.tokens, request.stop_tokens);
    return request;
  }

  const Options& options_;
  TextModel text_model_;
  ChatTemplate template_;
  Engine engine_;
  Json messages_;
};

int run(const Options& options) {
  Conversation conversation(options, model_directory(options.directory));
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) fmt::print(stderr, "/reset starts over, /exit ends; Ctrl-C stops an answer\n");
  std::string line;
  while (true) {
    if (terminal) fmt::print("> ");
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/exit") return 0;
    if (line == "/reset") {
      conversation.reset();
    } else if (!line.empty()) {
      conversation.turn(line);
    }
  }
}

}  // namespace

std::function<int()> setup_chat_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.add_option("--system", options->system, "System prompt");
  app.add_option("--thinking", options->thinking, "show it dimmed, hide it, or turn it off")
      ->check(CLI::IsMember({"show", "hide", "off"}))
      ->capture_default_str();
  app.add_option("-n,--max-tokens", options->max_tokens, "Most tokens of an answer")
      ->check(CLI::Range(int64_t{1}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--ctx", options->context, "Context in tokens; 0: the model's maximum")
      ->check(CLI::Range(int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_flag("-q,--quiet", options->quiet, "No timing on standard error");
  add_draft_options(app, options->drafts);
  add_sampling_options(app, options->sampling);
  add_compute_options(app, options->compute);
  add_int8_options(app, options->compute);
  add_gpu_memory_option(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
