// A rule that a quantized checkpoint has to keep, as data. A new rule is a function and a row of
// the table in rules.cpp; a fixture that breaks it stands in tests/verify.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "verify/subject.h"

namespace qround::verify {

enum class Severity {
  warning,  // worth knowing
  error,    // some reader fails, or computes something else
};

std::string_view severity_name(Severity severity);

struct Finding {
  std::string tensor;  // or module, or file
  std::string message;
  std::string expected, actual;
};

// Keeps the first findings of a rule and counts the rest.
class Findings {
 public:
  static constexpr size_t kKept = 10;

  void add(Finding finding);
  int64_t count() const { return count_; }
  const std::vector<Finding>& first() const { return first_; }

 private:
  std::vector<Finding> first_;
  int64_t count_ = 0;
};

struct Rule {
  std::string_view id;  // stable: reports and users name rules by it
  Severity severity;
  std::string_view applies_to;  // which readers a breach hurts
  std::string_view text;
  bool needs_source;
  void (*check)(const Subject& subject, Findings& findings);
};

}  // namespace qround::verify
