// The split steps of a tokenizer, one after the other: each splits the pieces of the one before.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/family_splitter.h"
#include "tokenizer/regex_splitter.h"

namespace qround {

// Movable; const members may be called from several threads.
class WordSplitter {
 public:
  // No pattern: the whole text is one word. Throws Error when a pattern is malformed.
  explicit WordSplitter(const std::vector<std::string>& patterns);

  // The splitter when it is one of the family's and the only one, for callers that need no list of
  // words; else nullptr.
  const FamilySplitter* family() const;

  // Puts the words of `text` (valid UTF-8) into `words`; joined they are `text`.
  void split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  std::vector<std::variant<FamilySplitter, RegexSplitter>> steps_;
};

}  // namespace qround
