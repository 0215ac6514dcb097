#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/json.h"
#include "base/threads.h"
#include "cli/command.h"
#include "cli/version.h"
#include "ops/backend.h"

namespace qround {
namespace {

struct Options {
  bool json = false;
};

Json facts() {
  Json::Array backends;
  for (const ops::Backend& backend : ops::backends()) {
    Json row = Json::object({{"name", backend.name}, {"description", backend.description}});
    row.set("usable", backend.unusable_because.empty());
    if (!backend.unusable_because.empty()) row.set("because", backend.unusable_because);
    backends.push_back(std::move(row));
  }
  return Json::object({{"version", kVersion},
                       {"compiler", std::string(__VERSION__)},
                       {"threads", Threads::all().count},
                       {"simd", ops::simd_target()},
                       {"backends", Json(std::move(backends))}});
}

int run(const Options& options) {
  const Json all = facts();
  if (options.json) {
    fmt::print("{}\n", all.dump({.indent = 2}));
    return 0;
  }
  fmt::print("qround {} (compiler {})\n", all.at("version").as_string(),
             all.at("compiler").as_string());
  fmt::print("threads   {}\n", all.at("threads").as_int());
  fmt::print("simd      {}\n", all.at("simd").as_string());
  for (const Json& backend : all.at("backends").as_array()) {
    const Json* because = backend.find("because");
    fmt::print("backend   {:<6} {}{}\n", backend.at("name").as_string(),
               backend.at("description").as_string(),
               because == nullptr ? "" : " (not usable here: " + because->as_string() + ")");
  }
  return 0;
}

}  // namespace

std::function<int()> setup_info_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace qround
