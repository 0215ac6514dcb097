// Checks a directory against the rules, and says what each program would make of it.
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
#include "verify/verdict.h"

namespace qround::verify {

struct Request {
  std::filesystem::path directory;
  const Checkpoint* source = nullptr;       // the checkpoint it was made from, if it is at hand
  std::vector<int64_t> tps = {};            // sizes of tensor parallelism the rules have to accept
  std::vector<std::string> consumers = {};  // beginnings of their ids; empty: all
  Threads threads;
  const std::atomic<bool>* stop = nullptr;  // true: ends with an Error of kind `interrupted`
};

struct RuleOutcome {
  std::string rule;
  Severity severity = Severity::error;
  std::string applies_to;
  bool checked = false;  // false: the rule needs what the request lacks, or nothing could be opened
  Findings findings;
};

// Worth knowing, neither right nor wrong.
struct Facts {
  uint64_t bytes = 0;  // of tensor data, read
  int64_t int4_linears = 0;
  double negative_scales = 0;  // share
  double bf16_scale_loss = 0;  // relative error that rounding scales to BF16 adds, as vLLM does
  double mean_relative_error = -1;  // of the weights against the source's; below 0: no source
  double max_relative_error = -1;
  std::string worst_module;  // with the largest
};

struct Outcome {
  std::vector<RuleOutcome> rules;
  std::vector<Verdict> verdicts;
  Facts facts;
  double seconds = 0;  // wall time

  int64_t checked() const;
  int64_t count(Severity severity) const;  // findings
  bool passed() const { return count(Severity::error) == 0; }
};

// Version of to_json's object; counts up when a member changes its meaning or goes.
inline constexpr int kSchemaVersion = 1;

// Sizes the verdicts are given for when the request names none.
inline constexpr int64_t kUsualTps[] = {1, 2, 4, 8};

// Errors of kind `interrupted` leave this function, and one that names an unknown consumer;
// everything wrong with the directory becomes a finding.
Outcome run(const Request& request, Progress& progress);

Json to_json(const Outcome& outcome);

// What the consumer's newest release makes of every module's name; reads headers only. Throws Error
// when the directory cannot be opened.
std::vector<ModuleRow> modules_of(const std::filesystem::path& directory, const Consumer& consumer);

}  // namespace qround::verify
