#include "cli/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "cli/version.h"

namespace qround {
namespace {

struct CommandRow {
  const char* name;
  const char* summary;
  const char* examples;
  CommandSetup* setup;
};

constexpr std::array kCommands = {
    CommandRow{"demo", "Plan, quantize, check and question the pocket model, in under a minute",
               "  qround demo", setup_demo_command},
    CommandRow{
        "plan",
        "Say what would be quantized, kept and why; sizes, memory and disk; nothing is written",
        "  qround plan Qwen3.6-35B-A3B\n  qround plan SRC --quantize '*.shared_expert.*' --json",
        setup_plan_command},
    CommandRow{
        "quantize",
        "Turn a BF16 checkpoint into an int4 AutoRound checkpoint and check what was written",
        "  qround quantize Qwen3.6-35B-A3B Qwen3.6-35B-A3B-int4 --data pile.jsonl\n  qround "
        "quantize SRC OUT --iters 0",
        setup_quantize_command},
    CommandRow{"verify",
               "Check an int4 checkpoint, whoever made it: files, config, tensors, weights",
               "  qround verify DIR\n  qround verify DIR --source Qwen3.6-35B-A3B --json",
               setup_verify_command},
    CommandRow{"inspect", "List tensors, types, sizes and bits per weight",
               "  qround inspect DIR\n  qround inspect DIR --tensors '*.layers.0.*'",
               setup_inspect_command},
    CommandRow{"eval",
               "Measure a checkpoint on a text: perplexity, and how far it is from its source",
               "  qround eval OUT --source SRC\n  qround eval OUT --source SRC --data wiki.txt "
               "--protocol llama.cpp --max-kld 0.05",
               setup_eval_command},
    CommandRow{
        "report",
        "Make a page (report.html) and a model card (README.md) from a checkpoint's report.json",
        "  qround report OUT", setup_report_command},
    CommandRow{"generate", "Continue a text",
               "  qround generate DIR -p 'Once upon a time'\n  qround generate DIR --chat -p 'What "
               "is 7 plus 5?' --temperature 0",
               setup_generate_command},
    CommandRow{"chat", "Talk to a model in the terminal",
               "  qround chat DIR\n  qround chat DIR --thinking hide", setup_chat_command},
    CommandRow{
        "bench", "Measure prefill and decode speed beside a plain read of memory",
        "  qround bench DIR\n  qround bench DIR --prompt 512 --decode 128 --batch 1,16 --json",
        setup_bench_command},
    CommandRow{"serve", "Answer OpenAI's API over HTTP, with a page to chat in",
               "  qround serve DIR\n  qround serve DIR --host 0.0.0.0 --api-key-file key.txt "
               "--parallel 32",
               setup_serve_command},
    CommandRow{"tokenize", "Text to token ids, JSON lines in and out",
               "  echo '\"Hello\"' | qround tokenize DIR", setup_tokenize_command},
    CommandRow{"detokenize", "Token ids to text, JSON lines in and out",
               "  echo '{\"ids\": [9707]}' | qround detokenize DIR", setup_detokenize_command},
    CommandRow{
        "render", "Apply a chat template, JSON lines in and out",
        "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | qround render DIR",
        setup_render_command},
    CommandRow{
        "logits", "The raw forward pass, for comparisons and bug reports",
        "  echo '[[1, 2, 3]]' > ids.json && qround logits DIR --ids ids.json -o out.safetensors",
        setup_logits_command},
    CommandRow{"info", "Backends, processor features and versions", "  qround info",
               setup_info_command},
};

constexpr const char* kExitCodes =
    "Exit status: 0 done; 1 the thing checked is wrong; 2 bad usage or input; 3 out of memory, "
    "disk or another "
    "resource; 130 interrupted.";

int run_guarded(const std::function<int()>& run) {
  try {
    return run();
  } catch (const Error& error) {
    fmt::print(stderr, "qround: {}\n", error.what());
    return exit_status(error.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "qround: out of memory\n");
    return exit_status(ErrorKind::resource);
  } catch (const std::exception& error) {
    fmt::print(stderr, "qround: {}\n", error.what());
    return exit_status(ErrorKind::input);
  }
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("Quantize, check and run Mixture-of-Experts models natively.", "qround");
  app.set_version_flag("--version", std::string("qround ") + kVersion);
  app.require_subcommand(1);
  app.footer(kExitCodes);
  std::vector<std::pair<CLI::App*, std::function<int()>>> commands;
  for (const CommandRow& row : kCommands) {
    CLI::App* command = app.add_subcommand(row.name, row.summary);
    command->footer(std::string("Examples:\n") + row.examples);
    commands.emplace_back(command, row.setup(*command));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_status(ErrorKind::input);
  }
  for (const auto& [command, run] : commands) {
    if (command->parsed()) return run_guarded(run);
  }
  return exit_status(ErrorKind::input);
}

}  // namespace qround
