// What the table of commands holds. Each command's file declares its options and says how to run
// it.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace qround {

// Adds a command's options to its parser and returns the function that runs it once they are read.
// The function returns the exit status or throws Error.
using CommandSetup = std::function<int()>(CLI::App& app);

CommandSetup setup_bench_command;
CommandSetup setup_chat_command;
CommandSetup setup_demo_command;
CommandSetup setup_detokenize_command;
CommandSetup setup_eval_command;
CommandSetup setup_generate_command;
CommandSetup setup_info_command;
CommandSetup setup_inspect_command;
CommandSetup setup_logits_command;
CommandSetup setup_plan_command;
CommandSetup setup_quantize_command;
CommandSetup setup_render_command;
CommandSetup setup_report_command;
CommandSetup setup_serve_command;
CommandSetup setup_tokenize_command;
CommandSetup setup_verify_command;

}  // namespace qround
