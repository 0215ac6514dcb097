#include "tokenizer/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_string_literal.h"
#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

struct Operator {
  std::string_view text;
  TokenKind kind;
};

// Longer ones first: the first that matches is taken.
constexpr auto kOperators = std::to_array<Operator>({
    {"//", TokenKind::floordiv}, {"**", TokenKind::pow},      {"==", TokenKind::eq},
    {"!=", TokenKind::ne},       {">=", TokenKind::gteq},     {"<=", TokenKind::lteq},
    {"+", TokenKind::add},       {"-", TokenKind::sub},       {"*", TokenKind::mul},
    {"/", TokenKind::div},       {"%", TokenKind::mod},       {"~", TokenKind::tilde},
    {"[", TokenKind::lbracket},  {"]", TokenKind::rbracket},  {"(", TokenKind::lparen},
    {")", TokenKind::rparen},    {"{", TokenKind::lbrace},    {"}", TokenKind::rbrace},
    {">", TokenKind::gt},        {"<", TokenKind::lt},        {"=", TokenKind::assign},
    {".", TokenKind::dot},       {":", TokenKind::colon},     {"|", TokenKind::pipe},
    {",", TokenKind::comma},     {";", TokenKind::semicolon},
});

std::string normalize_line_breaks(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') continue;
      text += '\n';
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name)
      : source_(normalize_line_breaks(source)), name_(name) {}

  TokenList run() {
    std::optional<Error> failure;
    try {
      while (offset_ < source_.size()) text();
      tokens_.push_back({TokenKind::end, "", line_of(source_.size())});
    } catch (Error& error) {
      failure = std::move(error);
    }
    return {std::move(tokens_), std::move(failure)};
  }

 private:
  // ---- Text up to the next tag, and the tag.

  void text() {
    const size_t begin = offset_;
    const size_t tag = find_tag(begin);
    if (tag == std::string::npos) {
      push_text(begin, source_.size());
      offset_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    offset_ = tag + 2;
    const char sign = take_sign();
    push_text(begin, end_of_text(begin, tag, sign, kind == '{'));
    if (kind == '#') {
      comment();
    } else if (kind == '{') {
      inside_tag(tag, TokenKind::variable_begin, TokenKind::variable_end);
    } else if (!raw(tag)) {
      inside_tag(tag, TokenKind::block_begin, TokenKind::block_end);
    }
  }

  size_t find_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#')) {
        return at;
      }
    }
    return std::string::npos;
  }

  char take_sign() {
    if (offset_ < source_.size() && (source_[offset_] == '-' || source_[offset_] == '+')) {
      return source_[offset_++];
    }
    return 0;
  }

  // Where the text before a tag ends once the white space control of the tag has been obeyed.
  size_t end_of_text(size_t begin, size_t tag, char sign, bool is_variable) const {
    const std::string_view text = std::string_view(source_).substr(begin, tag - begin);
    if (sign == '-') return begin + strip(text, Side::right).size();
    if (sign == '+' || is_variable) return tag;
    const size_t line_break = text.rfind('\n');
    const bool starts_line = begin == 0 || source_[begin - 1] == '\n';
    if (line_break == std::string_view::npos && !starts_line) return tag;
    const size_t line = line_break == std::string_view::npos ? 0 : line_break + 1;
    return strip(text.substr(line), Side::both).empty() ? begin + line : tag;
  }

  void push_text(size_t begin, size_t end) {
    if (begin < end) {
      tokens_.push_back({TokenKind::text, source_.substr(begin, end - begin), line_of(begin)});
    }
  }

  // ---- Ends of tags.

  bool at(std::string_view text) const {
    return std::string_view(source_).substr(offset_).starts_with(text);
  }

  void skip_space() {
    while (offset_ < source_.size()) {
      size_t after = offset_;
      if (!is_space(next_code_point(source_, after))) break;
      offset_ = after;
    }
  }

  // Takes the end of a tag, with what its white space control removes behind it; false when it is
  // not here.
  bool take_end(std::string_view end, bool is_variable) {
    const char sign = source_[offset_];
    const bool signed_end = std::string_view(source_).substr(offset_ + 1).starts_with(end);
    if (signed_end && sign == '-') {
      offset_ += 1 + end.size();
      skip_space();
      return true;
    }
    if (signed_end && sign == '+' && !is_variable) {
      offset_ += 1 + end.size();
      return true;
    }
    if (!at(end)) return false;
    offset_ += end.size();
    if (!is_variable && offset_ < source_.size() && source_[offset_] == '\n') ++offset_;
    return true;
  }

  void comment() {
    const size_t begin = offset_;
    for (; offset_ < source_.size(); ++offset_) {
      const char c = source_[offset_];
      if ((c == '#' || c == '-' || c == '+') && take_end("#}", false)) return;
    }
    if (begin < source_.size()) fail("Missing end of comment tag", begin);
  }

  // {% raw %} ... {% endraw %}: false, with the offset as it was, when the tag is another one.
  bool raw(size_t tag) {
    const size_t start = offset_;
    skip_space();
    if (!at("raw")) return no_raw(start);
    offset_ += 3;
    skip_space();
    if (at("-%}")) {
      offset_ += 3;
      skip_space();
    } else if (at("%}")) {
      offset_ += 2;
    } else {
      return no_raw(start);
    }
    const size_t begin = offset_;
    for (size_t at_tag = source_.find("{%", begin); at_tag != std::string::npos;
         at_tag = source_.find("{%", at_tag + 2)) {
      offset_ = at_tag + 2;
      const char sign = take_sign();
      skip_space();
      if (!at("endraw")) continue;
      offset_ += 6;
      skip_space();
      if (offset_ == source_.size() || !take_end("%}", false)) continue;
      push_text(begin, end_of_text(begin, at_tag, sign, false));
      return true;
    }
    if (begin < source_.size()) fail("Missing end of raw directive", tag);
    offset_ = begin;
    return true;
  }

  bool no_raw(size_t start) {
    offset_ = start;
    return false;
  }

  // ---- Tokens inside {{ }} and {% %}.

  void inside_tag(size_t tag, TokenKind begin, TokenKind end) {
    tokens_.push_back({begin, "", line_of(tag)});
    const bool is_variable = begin == TokenKind::variable_begin;
    brackets_.clear();
    while (true) {
      skip_space();
      if (offset_ >= source_.size()) return;
      const int line = line_of(offset_);
      if (brackets_.empty() && take_end(is_variable ? "}}" : "%}", is_variable)) {
        tokens_.push_back({end, "", line});
        return;
      }
      token(line);
    }
  }

  void token(int line) {
    const size_t begin = offset_;
    if (is_ascii_digit(source_[begin])) {
      number(line);
    } else if (source_[begin] == '\'' || source_[begin] == '"') {
      string(line);
    } else if (!name(line) && !operator_sign(line)) {
      size_t end = begin;
      next_code_point(source_, end);
      fail(fmt::format("unexpected char {} at {}", repr_of_text(source_.substr(begin, end - begin)),
                       count_code_points(source_.substr(0, begin))),
           begin);
    }
  }

  // Digits of a base, possibly separated by single underscores; returns where they end.
  size_t digits_end(size_t from, int base) const {
    const auto is_digit = [&](size_t i) {
      if (i >= source_.size()) return false;
      const char c = source_[i];
      if (is_ascii_digit(c)) return c - '0' < base;
      return base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
    };
    size_t end = from;
    while (is_digit(end) || (source_[end] == '_' && end > from && is_digit(end + 1))) {
      ++end;
      if (end >= source_.size()) break;
    }
    return end;
  }

  // The end of "digits[.digits][e[+-]digits]" when there is a fraction or an exponent, else 0.
  size_t real_end(size_t from) const {
    if (from > 0 && source_[from - 1] == '.') return 0;
    const auto char_at = [&](size_t i) { return i < source_.size() ? source_[i] : '\0'; };
    const size_t whole_end = digits_end(from, 10);
    size_t end = whole_end;
    if (char_at(end) == '.' && is_ascii_digit(char_at(end + 1))) end = digits_end(end + 1, 10);
    if (char_at(end) == 'e' || char_at(end) == 'E') {
      const size_t sign = char_at(end + 1) == '+' || char_at(end + 1) == '-' ? 1 : 0;
      if (is_ascii_digit(char_at(end + 1 + sign))) end = digits_end(end + 1 + sign, 10);
    }
    return end > whole_end ? end : 0;
  }

  size_t integer_end(size_t from) const {
    if (source_[from] != '0') return digits_end(from, 10);
    const char mark = from + 1 < source_.size() ? source_[from + 1] : '\0';
    const int base = mark == 'x' || mark == 'X'   ? 16
                     : mark == 'o' || mark == 'O' ? 8
                     : mark == 'b' || mark == 'B' ? 2
                                                  : 0;
    if (base != 0) {
      const size_t first =
          from + 2 < source_.size() && source_[from + 2] == '_' ? from + 3 : from + 2;
      const size_t end = first < source_.size() ? digits_end(first, base) : first;
      if (end > first) return end;
    }
    size_t end = from + 1;
    while (end < source_.size() && source_[end] == '0') ++end;
    return end;
  }

  void number(int line) {
    const size_t begin = offset_;
    const size_t real = real_end(begin);
    offset_ = real != 0 ? real : integer_end(begin);
    std::string digits = source_.substr(begin, offset_ - begin);
    std::erase(digits, '_');
    tokens_.push_back({real != 0 ? TokenKind::real : TokenKind::integer, digits, line});
  }

  void string(int line) {
    const char quote = source_[offset_];
    size_t end = offset_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      fail(fmt::format("unexpected char {} at {}", repr_of_text(std::string(1, quote)),
                       count_code_points(source_.substr(0, offset_))),
           offset_);
    }
    const std::string_view literal =
        std::string_view(source_).substr(offset_ + 1, end - offset_ - 1);
    std::string error;
    auto text = unescape(literal, error);
    if (!text) fail(error, offset_);
    tokens_.push_back({TokenKind::string, std::move(*text), line});
    offset_ = end + 1;
  }

  bool name(int line) {
    size_t end = offset_;
    while (end < source_.size()) {
      size_t after = end;
      if (!is_identifier_part(next_code_point(source_, after))) break;
      end = after;
    }
    if (end == offset_) return false;
    size_t after = offset_;
    if (!is_identifier_start(next_code_point(source_, after))) {
      fail("Invalid character in identifier", offset_);
    }
    tokens_.push_back({TokenKind::name, source_.substr(offset_, end - offset_), line});
    offset_ = end;
    return true;
  }

  bool operator_sign(int line) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const Operator& candidate) { return at(candidate.text); });
    if (found == kOperators.end()) return false;
    balance(found->text);
    tokens_.push_back({found->kind, std::string(found->text), line});
    offset_ += found->text.size();
    return true;
  }

  // A tag ends only where its brackets are closed: "}}" may end a dict as well.
  void balance(std::string_view text) {
    constexpr std::string_view kOpening = "([{";
    constexpr std::string_view kClosing = ")]}";
    if (const size_t kind = kOpening.find(text); kind != std::string_view::npos) {
      brackets_ += kClosing[kind];
    } else if (kClosing.find(text) != std::string_view::npos) {
      if (brackets_.empty()) fail(fmt::format("unexpected '{}'", text), offset_);
      if (brackets_.back() != text[0]) {
        fail(fmt::format("unexpected '{}', expected '{}'", text, brackets_.back()), offset_);
      }
      brackets_.pop_back();
    }
  }

  // Lines are asked for in ascending order, so each is counted once.
  int line_of(size_t offset) {
    if (offset < line_offset_) {
      line_ = 1;
      line_offset_ = 0;
    }
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(line_offset_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
    line_offset_ = offset;
    return line_;
  }

  [[noreturn]] void fail(const std::string& message, size_t offset) {
    throw Error(message).file(fmt::format("{}:{}", name_, line_of(offset)));
  }

  std::string source_;
  std::string_view name_;
  std::vector<Token> tokens_;
  std::string brackets_;  // the closing brackets still to come
  size_t offset_ = 0;
  size_t line_offset_ = 0;
  int line_ = 1;
};

}  // namespace

std::string_view describe(TokenKind kind) {
  switch (kind) {
    case TokenKind::text:
      return "template data / text";
    case TokenKind::variable_begin:
      return "begin of print statement";
    case TokenKind::variable_end:
      return "end of print statement";
    case TokenKind::block_begin:
      return "begin of statement block";
    case TokenKind::block_end:
      return "end of statement block";
    case TokenKind::name:
      return "name";
    case TokenKind::string:
      return "string";
    case TokenKind::integer:
      return "integer";
    case TokenKind::real:
      return "float";
    case TokenKind::end:
      return "end of template";
    default:
      break;
  }
  const auto found =
      std::find_if(kOperators.begin(), kOperators.end(),
                   [&](const Operator& candidate) { return candidate.kind == kind; });
  return found == kOperators.end() ? "token" : found->text;
}

std::string_view describe(const Token& token) {
  return token.kind == TokenKind::name ? std::string_view(token.text) : describe(token.kind);
}

TokenList tokenize(std::string_view source, std::string_view name) {
  return Lexer(source, name).run();
}

}  // namespace qround::jinja
