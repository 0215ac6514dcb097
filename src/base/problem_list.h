// Collects the problems of one input, so that a person sees the first ten at once and not one a
// run.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace qround {

class ProblemList {
 public:
  static constexpr size_t kShown = 10;

  void add(Error problem);

  // Runs `check`; an Error it throws becomes a problem of the list. Returns whether none was
  // thrown.
  template <typename Check>
  bool attempt(Check&& check) {
    try {
      std::forward<Check>(check)();
      return true;
    } catch (const Error& problem) {
      add(problem);
      return false;
    }
  }

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }

  // Nothing when the list is empty. One problem is thrown as it is, with its fields. Several become
  // one Error: `headline`, the count, the first ten a line each; kind and hint are the first one's.
  void throw_if_any(std::string_view headline) const;

 private:
  std::vector<Error> first_;  // at most kShown
  size_t count_ = 0;
};

}  // namespace qround
