// A rule that a quantized checkpoint has to keep, as data. A new rule is a function and a row of
// the table in rule_table.cpp; a damage that breaks it stands in tests/verify.
#pragma once

#include <cstdint>
#include <string_view>

#include "verify/finding.h"
#include "verify/subject.h"

namespace qround::verify {

// What a breach does to a program that loads the checkpoint.
enum class Effect {
  none,      // nothing, or what is said elsewhere: name resolution and kernels are simulated
  stops,     // it ends with a message
  corrupts,  // it runs and computes something else
};

struct Effects {
  Effect vllm = Effect::none, sglang = Effect::none, transformers = Effect::none;
};

// What a rule needs besides the checkpoint.
enum class Needs {
  nothing,
  source,         // the checkpoint it was made from
  tensor_counts,  // sizes of tensor parallelism that the user asked for
};

struct Rule {
  std::string_view id;  // stable: reports and users name rules by it
  Severity severity;
  std::string_view applies_to;  // which readers a breach hurts
  std::string_view text;        // what has to hold
  std::string_view reason;      // what happens otherwise
  std::string_view source;      // where that was read or reported
  std::string_view mend;        // what to do
  Needs needs;
  Effects effects;
  void (*check)(const Subject& subject, Findings& findings);
};

}  // namespace qround::verify
