// Ends a stream of text at the first stop string, even when the string arrives in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qround {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);  // empty strings are ignored

  // Takes the next piece and returns what may be shown now: text that can no longer be part of a
  // stop string. After a match it returns what lay before it, and nothing from then on.
  std::string push(std::string_view piece);
  // The text held back, at the end of a stream without a match.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace qround
