// Splits text by a regular expression, with Oniguruma, the engine of the reference tokenizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace qround {

// Movable; const members may be called from several threads.
class RegexSplitter {
 public:
  // Throws Error with Oniguruma's message when the pattern is malformed.
  explicit RegexSplitter(const std::string& pattern);

  // Appends to `pieces` every match and every non-empty stretch between matches, in order, so that
  // the pieces joined are `text` (valid UTF-8). Empty matches only cut. Throws Error when Oniguruma
  // gives up on a text that makes it backtrack too long.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Free {
    void operator()(void* regex) const;
  };
  std::unique_ptr<void, Free> regex_;  // OnigRegex
};

}  // namespace qround
