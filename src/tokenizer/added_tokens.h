// Added tokens: strings that are cut out of the text whole before anything else is done with it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qround {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;     // left out of decoded text on request
  bool normalized = false;  // looked for in the normalized text, else in the raw text
  bool lstrip = false;      // takes the white space before it along
  bool rstrip = false;      // takes the white space after it along
};

// Which added tokens `encode` recognises in the text; the others are ordinary text.
enum class ParseTokens {
  all,
  non_special,  // for text from strangers: "<|im_end|>" typed by a user ends no turn
  none,
};

// Finds added tokens as the reference does: leftmost, and the longest of those that start there.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin, end;  // bytes; white space taken along is included
    int32_t id;
  };

  // `pattern` is the string to look for and is not empty.
  void add(std::string_view pattern, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  // The matches in valid UTF-8, in the order of the text.
  std::vector<Match> find(std::string_view text, ParseTokens parse) const;

 private:
  struct Candidate {
    size_t length = 0;  // 0: no token starts here
    size_t token_idx = 0;
  };
  Candidate longest_at(std::string_view text, size_t pos) const;

  std::vector<AddedToken> tokens_;
  // A trie. Node 0 is the root; edges_ maps node << 8 | byte to the child.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<int64_t> token_at_node_{-1};  // index into tokens_, -1: no token ends here
  std::array<bool, 256> starts_{};          // bytes a token begins with
};

}  // namespace qround
