#include <CLI/CLI.hpp>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/model_location.h"
#include "tokenizer/chat_template.h"

namespace qround {
namespace {

struct Options {
  std::string directory, template_file;
};

// A line holds the template's arguments: messages, tools, add_generation_prompt and any other
// variable.
Json render_line(const ChatTemplate& chat_template, const Json& line) {
  ChatTemplateInput input;
  input.variables = Json::object();
  if (!line.is_object())
    throw Error("not an object of template arguments").actual(line.type_name());
  for (const auto& [name, value] : line.as_object()) {
    if (name == "tools") {
      input.tools = value;
    } else if (name == "add_generation_prompt") {
      input.add_generation_prompt = value.as_bool();
    } else if (name != "messages") {
      input.variables.set(name, value);
    }
  }
  return Json::object({{"text", chat_template.render(line.at("messages"), input)}});
}

int run(const Options& options) {
  const std::filesystem::path directory = model_directory(options.directory);
  const ChatTemplate chat_template =
      options.template_file.empty() ? ChatTemplate::load(directory)
                                    : ChatTemplate::from_file(options.template_file, directory);
  return run_json_lines([&](const Json& line) { return render_line(chat_template, line); });
}

}  // namespace

std::function<int()> setup_render_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.add_option("--template", options->template_file,
                 "Template file to use instead of the directory's");
  app.footer(
      "Each line of standard input is an object of the template's arguments (messages, tools, "
      "add_generation_prompt, ...);\neach line of output {\"text\": ...} or {\"error\": ...}.");
  return [options] { return run(*options); };
}

}  // namespace qround
