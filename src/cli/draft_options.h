// Options of speculative decoding that several commands share.
#pragma once

#include <string>

#include "engine/engine_options.h"

namespace CLI {
class App;
}

namespace qround {

struct DraftFlags {
  std::string drafts = "auto", head = "stored";

  DraftOptions resolve() const;
};
void add_draft_options(CLI::App& app, DraftFlags& flags);

}  // namespace qround
