#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/model_location.h"
#include "tokenizer/tokenizer.h"

namespace qround {
namespace {

struct Options {
  std::string directory;
};

int run(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(model_directory(options.directory));
  return run_json_lines([&](const Json& line) {
    const std::vector<int32_t> ids =
        tokenizer.encode(line.is_string() ? line.as_string() : line.at("text").as_string());
    return Json::object({{"ids", Json(Json::Array(ids.begin(), ids.end()))}});
  });
}

}  // namespace

std::function<int()> setup_tokenize_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.footer(
      "Each line of standard input is a JSON string or {\"text\": ...}; each line of output "
      "{\"ids\": [...]} or {\"error\": ...}.");
  return [options] { return run(*options); };
}

}  // namespace qround
