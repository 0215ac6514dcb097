#include "server/json_text_rules.h"

#include <algorithm>

namespace qround::server {
namespace {

constexpr int kMaxIndent = 40;
constexpr int kMaxMoreDigits = 15;
constexpr int kMaxExponentDigits = 2;
constexpr int kMaxLeadingBlanks = 3;

ByteSet digits() { return byte_range('0', '9'); }
ByteSet hex_digits() { return byte_range('0', '9') | byte_range('a', 'f') | byte_range('A', 'F'); }
ByteSet continuation() { return byte_range(0x80, 0xBF); }
ByteSet plain_ascii() { return byte_range(0x20, 0x7F) & ~one_byte('"') & ~one_byte('\\'); }

}  // namespace

// `least` to `most` bytes of a set: a chain of rules, each the beginning of the next.
GrammarItem JsonTextRules::repeated(const ByteSet& set, int least, int most) {
  GrammarItem rest = rule({{}});
  for (int i = most; i > 0; --i) {
    std::vector<GrammarSequence> alternatives = {{grammar_.bytes(set), rest}};
    if (i > least) alternatives.push_back({});
    rest = rule(std::move(alternatives));
  }
  return rest;
}

GrammarItem JsonTextRules::blanks() {
  if (!blanks_) {
    const GrammarItem indent = repeated(one_byte(' '), 0, kMaxIndent);
    blanks_ = rule({{}, sequence(" "), {grammar_.bytes(one_byte('\n')), indent}});
  }
  return *blanks_;
}

GrammarItem JsonTextRules::leading() {
  if (!leading_) leading_ = repeated(one_byte(' ') | one_byte('\n'), 0, kMaxLeadingBlanks);
  return *leading_;
}

// Valid UTF-8 of two to four bytes: no overlong forms, no surrogates, nothing above U+10FFFF.
GrammarItem JsonTextRules::multibyte() {
  if (multibyte_) return *multibyte_;
  const auto set = [&](const ByteSet& bytes) { return grammar_.bytes(bytes); };
  const GrammarItem more = set(continuation());
  multibyte_ = rule({
      {set(byte_range(0xC2, 0xDF)), more},
      {set(byte_range(0xE0, 0xE0)), set(byte_range(0xA0, 0xBF)), more},
      {set(byte_range(0xE1, 0xEC) | byte_range(0xEE, 0xEF)), more, more},
      {set(byte_range(0xED, 0xED)), set(byte_range(0x80, 0x9F)), more},
      {set(byte_range(0xF0, 0xF0)), set(byte_range(0x90, 0xBF)), more, more},
      {set(byte_range(0xF1, 0xF3)), more, more, more},
      {set(byte_range(0xF4, 0xF4)), set(byte_range(0x80, 0x8F)), more, more},
  });
  return *multibyte_;
}

// What follows a backslash; a surrogate alone would be no character.
GrammarItem JsonTextRules::escape() {
  if (escape_) return *escape_;
  ByteSet letters;
  for (const char c : std::string_view("\"\\/bfnrt")) letters |= one_byte(c);
  const GrammarItem hex = grammar_.bytes(hex_digits());
  const GrammarItem u = grammar_.bytes(one_byte('u'));
  const ByteSet d = one_byte('d') | one_byte('D');
  escape_ = rule({{grammar_.bytes(letters)},
                  {u, grammar_.bytes(hex_digits() & ~d), hex, hex, hex},
                  {u, grammar_.bytes(d), grammar_.bytes(byte_range('0', '7')), hex, hex}});
  return *escape_;
}

std::vector<GrammarSequence> JsonTextRules::character_then(GrammarItem next, uint32_t plain_run) {
  return {{grammar_.bytes(plain_ascii(), plain_run), next},
          {multibyte(), next},
          {grammar_.bytes(one_byte('\\')), escape(), next}};
}

GrammarItem JsonTextRules::endless_characters() {
  if (!characters_) {
    characters_ = Grammar::rule(grammar_.add_rule());
    std::vector<GrammarSequence> alternatives = character_then(*characters_, kEndlessRun);
    alternatives.push_back({});
    grammar_.rules[characters_->index] = std::move(alternatives);
  }
  return *characters_;
}

GrammarItem JsonTextRules::string() {
  if (!string_) {
    const GrammarItem quote = grammar_.bytes(one_byte('"'));
    string_ = rule({{quote, endless_characters(), quote}});
  }
  return *string_;
}

GrammarItem JsonTextRules::bounded_string(uint64_t least, std::optional<uint64_t> most) {
  GrammarItem rest = most ? rule({{}}) : endless_characters();
  const uint64_t steps = most.value_or(least);
  for (uint64_t i = 1; i <= steps; ++i) {
    const uint64_t position = steps - i;  // characters before this one
    const uint32_t run =
        most ? static_cast<uint32_t>(std::min<uint64_t>(i, kEndlessRun - 1)) : kEndlessRun;
    // Before `least` characters the string may not end, but plain text of any length that does not
    // pass `most` may follow all the same.
    std::vector<GrammarSequence> alternatives = character_then(rest, run);
    if (position >= least) alternatives.push_back({});
    rest = rule(std::move(alternatives));
  }
  const GrammarItem quote = grammar_.bytes(one_byte('"'));
  return rule({{quote, rest, quote}});
}

GrammarItem JsonTextRules::integer() {
  if (!integer_) {
    const GrammarItem sign = rule({{}, sequence("-")});
    const GrammarItem size =
        rule({sequence("0"),
              {grammar_.bytes(byte_range('1', '9')), repeated(digits(), 0, kMaxMoreDigits)}});
    integer_ = rule({{sign, size}});
  }
  return *integer_;
}

GrammarItem JsonTextRules::number() {
  if (!number_) {
    const GrammarItem fraction =
        rule({{}, {grammar_.bytes(one_byte('.')), repeated(digits(), 1, kMaxMoreDigits)}});
    const GrammarItem sign = rule({{}, {grammar_.bytes(one_byte('+') | one_byte('-'))}});
    const GrammarItem exponent = rule({{},
                                       {grammar_.bytes(one_byte('e') | one_byte('E')), sign,
                                        repeated(digits(), 1, kMaxExponentDigits)}});
    number_ = rule({{integer(), fraction, exponent}});
  }
  return *number_;
}

GrammarItem JsonTextRules::boolean() { return rule({sequence("true"), sequence("false")}); }

GrammarItem JsonTextRules::null() { return rule({sequence("null")}); }

GrammarItem JsonTextRules::text(std::string_view text) { return rule({sequence(text)}); }

GrammarItem JsonTextRules::object_of(GrammarItem value) {
  const GrammarItem close = grammar_.bytes(one_byte('}'));
  const GrammarItem comma = grammar_.bytes(one_byte(','));
  const GrammarItem pair = rule({{string(), grammar_.bytes(one_byte(':')), blanks(), value}});
  const GrammarItem more = Grammar::rule(grammar_.add_rule());
  grammar_.rules[more.index] = {{comma, blanks(), pair, more}, {blanks(), close}};
  const GrammarItem inside = rule({{close}, {pair, more}});
  return rule({{grammar_.bytes(one_byte('{')), blanks(), inside}});
}

GrammarItem JsonTextRules::array_of(GrammarItem value) {
  const GrammarItem close = grammar_.bytes(one_byte(']'));
  const GrammarItem comma = grammar_.bytes(one_byte(','));
  const GrammarItem more = Grammar::rule(grammar_.add_rule());
  grammar_.rules[more.index] = {{comma, blanks(), value, more}, {blanks(), close}};
  const GrammarItem inside = rule({{close}, {value, more}});
  return rule({{grammar_.bytes(one_byte('[')), blanks(), inside}});
}

GrammarItem JsonTextRules::value() {
  if (!value_) {
    value_ = Grammar::rule(grammar_.add_rule());
    grammar_.rules[value_->index] = {{object()}, {array()},   {string()},
                                     {number()}, {boolean()}, {null()}};
  }
  return *value_;
}

GrammarItem JsonTextRules::object() {
  if (!object_) object_ = object_of(value());
  return *object_;
}

GrammarItem JsonTextRules::array() {
  if (!array_) array_ = array_of(value());
  return *array_;
}

}  // namespace qround::server
