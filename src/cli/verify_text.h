// What `qround verify` prints for people.
#pragma once

#include <string>

#include "verify/verify.h"

namespace qround {

// Findings by rule, facts, then one line for each consumer and number of GPUs.
std::string outcome_text(const std::string& directory, const verify::Outcome& outcome);

// A rule's reason, source and mend, or what a consumer needs. Throws Error when `id` is neither.
std::string explanation_text(const std::string& id);

}  // namespace qround
