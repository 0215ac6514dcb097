// Decodes tokens as they come. What it returns is always whole characters; joined, all it returned
// is what Tokenizer::decode would give for the same ids.
#pragma once

#include <cstdint>
#include <string>

namespace qround {

class Tokenizer;

// The tokenizer must outlive it. Not for several threads at once.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // The text that `id` completes, possibly empty: up to three bytes of an unfinished character are
  // held back. Bytes that can belong to no character become U+FFFD.
  std::string push(int32_t id);

  // The end of the text: U+FFFD for an unfinished character, else nothing. Ready for a new text.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string unfinished_;  // the first bytes of a character
};

}  // namespace qround
