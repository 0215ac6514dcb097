// The rules of JSON's text that every schema needs: strings, numbers, blanks, any value.
#pragma once

#include <cstdint>
#include <optional>

#include "server/grammar.h"

namespace qround::server {

class JsonTextRules {
 public:
  explicit JsonTextRules(Grammar& grammar) : grammar_(grammar) {}

  GrammarItem blanks();   // between tokens
  GrammarItem leading();  // before the value
  GrammarItem string();
  GrammarItem bounded_string(uint64_t least, std::optional<uint64_t> most);  // in characters
  GrammarItem integer();
  GrammarItem number();
  GrammarItem boolean();
  GrammarItem null();
  GrammarItem value();   // anything
  GrammarItem object();  // any
  GrammarItem array();   // any

  // An object of any keys whose values are `value`; a list of such.
  GrammarItem object_of(GrammarItem value);
  // A list of any length whose elements are `value`.
  GrammarItem array_of(GrammarItem value);
  // The exact text.
  GrammarItem text(std::string_view text);

 private:
  GrammarItem rule(std::vector<GrammarSequence> alternatives) {
    return Grammar::rule(grammar_.add_rule(std::move(alternatives)));
  }
  GrammarSequence sequence(std::string_view text) {
    GrammarSequence out;
    grammar_.append_text(text, out);
    return out;
  }
  // One character of a string and then `next`, in all its forms.
  std::vector<GrammarSequence> character_then(GrammarItem next, uint32_t plain_run);
  GrammarItem repeated(const ByteSet& set, int least, int most);
  GrammarItem multibyte();
  GrammarItem escape();
  GrammarItem endless_characters();

  Grammar& grammar_;
  std::optional<GrammarItem> blanks_, leading_, string_, characters_, multibyte_, escape_, integer_,
      number_, value_, object_, array_;
};

}  // namespace qround::server
