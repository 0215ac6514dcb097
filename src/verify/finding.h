// What a rule found, and how serious that is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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

}  // namespace qround::verify
