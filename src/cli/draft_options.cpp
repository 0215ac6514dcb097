#include "cli/draft_options.h"

#include <CLI/CLI.hpp>

namespace qround {

void add_draft_options(CLI::App& app, DraftFlags& flags) {
  app.add_option("--mtp-drafts", flags.drafts,
                 "Tokens the MTP head drafts for each step: 0 to 4, or auto; changes the speed "
                 "alone, never the text")
      ->check(CLI::IsMember({"auto", "0", "1", "2", "3", "4"}))
      ->capture_default_str();
  app.add_option("--draft-head", flags.head,
                 "lm_head for drafting: as stored, or an int4 copy made at load")
      ->check(CLI::IsMember({"stored", "int4"}))
      ->capture_default_str();
}

DraftOptions DraftFlags::resolve() const {
  DraftOptions options;
  options.automatic = drafts == "auto";
  if (!options.automatic) options.depth = std::stoi(drafts);
  options.int4_head = head == "int4";
  return options;
}

}  // namespace qround
