// Checks a directory against the rules.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/threads.h"
#include "verify/rule.h"

namespace qround::verify {

struct Request {
  std::filesystem::path directory;
  const Checkpoint* source = nullptr;  // the checkpoint it was made from, if it is at hand
  Threads threads;
  const std::atomic<bool>* stop = nullptr;  // true: ends with an Error of kind `interrupted`
};

struct RuleOutcome {
  std::string rule;
  Severity severity = Severity::error;
  std::string applies_to;
  bool checked = false;  // false: the rule needs the source, or the directory could not be opened
  Findings findings;
};

struct Outcome {
  std::vector<RuleOutcome> rules;

  int64_t checked() const;
  int64_t count(Severity severity) const;  // findings
  bool passed() const { return count(Severity::error) == 0; }
};

// The rule that a directory which cannot be opened breaks; it stands before those of the table.
inline constexpr std::string_view kOpensRule = "opens";

// Only Errors of kind `interrupted` leave this function; everything wrong with the directory
// becomes a finding.
Outcome run(const Request& request, Progress& progress);

Json to_json(const Outcome& outcome);

}  // namespace qround::verify
