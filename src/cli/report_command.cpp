#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/report.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "cli/model_location.h"
#include "report/model_card.h"
#include "report/report_page.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

struct Options {
  std::string directory, report, page, card;
};

Json existing_report(const fs::path& file) {
  if (!fs::exists(file)) {
    throw Error("there is no report")
        .file(file)
        .hint(
            "`qround quantize` writes one; `qround eval DIR --report FILE` starts one for any "
            "checkpoint");
  }
  return read_report(file);
}

bool holds_mtp(const fs::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                     [](const TensorEntry& entry) { return entry.name.starts_with("mtp."); });
}

// A README that somebody else wrote is not touched.
fs::path card_path(const Options& options, const fs::path& directory) {
  if (!options.card.empty()) return options.card;
  const fs::path readme = directory / "README.md";
  const bool foreign =
      fs::exists(readme) && read_file(readme).find(report::kCardMark) == std::string::npos;
  return foreign ? directory / "MODEL_CARD.md" : readme;
}

int run(const Options& options) {
  const fs::path directory = model_directory(options.directory);
  const fs::path file =
      options.report.empty() ? directory / kReportFileName : fs::path(options.report);
  const Json report = existing_report(file);
  const fs::path page = options.page.empty() ? directory / "report.html" : fs::path(options.page);
  write_file_atomically(page, report::report_page(report));
  const fs::path card = card_path(options, directory);
  const std::string name = fs::weakly_canonical(directory).filename().string();
  write_file_atomically(card, report::model_card(report, name, holds_mtp(directory)));
  fmt::print("{}\n{}\n", page.string(), card.string());
  return 0;
}

}  // namespace

std::function<int()> setup_report_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Checkpoint with a report.json")->required();
  app.add_option("--report", options->report, "The report; default: DIR/report.json");
  app.add_option("--page", options->page, "Page to write; default: DIR/report.html");
  app.add_option("--card", options->card,
                 "Model card to write; default: DIR/README.md, or DIR/MODEL_CARD.md where somebody "
                 "else's README.md is");
  return [options] { return run(*options); };
}

}  // namespace qround
