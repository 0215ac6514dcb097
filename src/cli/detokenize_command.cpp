#include <CLI/CLI.hpp>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/model_location.h"
#include "tokenizer/tokenizer.h"

namespace qround {
namespace {

struct Options {
  std::string directory;
  bool skip_special = false;
};

std::vector<int32_t> ids_of(const Json& line) {
  std::vector<int32_t> ids;
  for (const Json& id : (line.is_array() ? line : line.at("ids")).as_array()) {
    const int64_t value = id.as_int();
    if (value < 0 || value > INT32_MAX) throw Error("token id out of range").actual(id.dump());
    ids.push_back(static_cast<int32_t>(value));
  }
  return ids;
}

int run(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(model_directory(options.directory));
  return run_json_lines([&](const Json& line) {
    return Json::object({{"text", tokenizer.decode(ids_of(line), options.skip_special)}});
  });
}

}  // namespace

std::function<int()> setup_detokenize_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.add_flag("--skip-special", options->skip_special, "Leave special tokens out");
  app.footer(
      "Each line of standard input is {\"ids\": [...]} or a list; each line of output {\"text\": "
      "...} or {\"error\": ...}.");
  return [options] { return run(*options); };
}

}  // namespace qround
