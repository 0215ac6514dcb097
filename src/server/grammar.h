// A context-free grammar over bytes: what an output may look like.
#pragma once

#include <bitset>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace qround::server {

using ByteSet = std::bitset<256>;

struct GrammarItem {
  enum class Kind : uint8_t { bytes, rule } kind = Kind::bytes;
  uint32_t index = 0;  // into Grammar::sets or Grammar::rules
  // With `bytes`: that many characters of a string's plain text can follow from here, this one
  // included, so that tokens of plain text need no closer look.
  uint32_t plain_run = 0;
};
using GrammarSequence = std::vector<GrammarItem>;
inline constexpr uint32_t kEndlessRun = std::numeric_limits<uint32_t>::max();

// No rule may reach itself without a byte in between (no left recursion), and every rule must
// produce some text; checked() sees to both.
struct Grammar {
  std::vector<ByteSet> sets;
  std::vector<std::vector<GrammarSequence>> rules;  // alternatives; an empty sequence is no text
  uint32_t root = 0;

  uint32_t add_rule(std::vector<GrammarSequence> alternatives = {});
  GrammarItem bytes(const ByteSet& set, uint32_t plain_run = 0);
  static GrammarItem rule(uint32_t index) { return {GrammarItem::Kind::rule, index, 0}; }
  // Appends the bytes of a text, one after the other.
  void append_text(std::string_view text, GrammarSequence& sequence);
  size_t size() const;  // items of all rules
};

enum class GrammarFlaw {
  none,
  endless,  // the root produces no finite text
  circular  // a rule reaches itself without a byte in between
};

// Drops alternatives that produce no finite text and says whether what is left can be matched.
GrammarFlaw check_grammar(Grammar& grammar);

ByteSet byte_range(unsigned char first, unsigned char last);
ByteSet one_byte(char byte);

}  // namespace qround::server
