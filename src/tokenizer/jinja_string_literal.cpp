#include "tokenizer/jinja_string_literal.h"

#include <charconv>

#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

constexpr char32_t kInvalid = 0xFFFFFFFF;

// Exactly `count` hexadecimal digits at the start of `text`, else kInvalid.
char32_t hexadecimal(std::string_view text, size_t count) {
  uint32_t value = 0;
  text = text.substr(0, count);
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() < count || end != text.data() + count || status != std::errc()) return kInvalid;
  return value;
}

// Up to three octal digits at `offset`, which moves behind them.
char32_t octal(std::string_view text, size_t& offset) {
  char32_t value = 0;
  for (int i = 0; i < 3 && offset < text.size() && text[offset] >= '0' && text[offset] <= '7';
       ++i) {
    value = value * 8 + static_cast<char32_t>(text[offset++] - '0');
  }
  return value;
}

// What a one-letter escape stands for, 0 when it is none.
char simple_escape(char letter) {
  switch (letter) {
    case '\\':
    case '\'':
    case '"':
      return letter;
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return 0;
  }
}

std::string_view truncation_error(char letter) {
  switch (letter) {
    case 'x':
      return "truncated \\xXX escape";
    case 'u':
      return "truncated \\uXXXX escape";
    default:
      return "truncated \\UXXXXXXXX escape";
  }
}

}  // namespace

std::optional<std::string> unescape(std::string_view literal, std::string& error) {
  std::string text;
  for (size_t offset = 0; offset < literal.size();) {
    if (literal[offset] != '\\' || offset + 1 == literal.size()) {
      text += literal[offset++];
      continue;
    }
    const char letter = literal[offset + 1];
    if (letter == '\n') {
      offset += 2;
    } else if (const char simple = simple_escape(letter)) {
      text += simple;
      offset += 2;
    } else if (letter >= '0' && letter <= '7') {
      append_utf8(octal(literal, ++offset), text);
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      const size_t count = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
      const char32_t c = hexadecimal(literal.substr(offset + 2), count);
      if (c == kInvalid) {
        error = truncation_error(letter);
        return std::nullopt;
      }
      if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
        error = c > 0x10FFFF ? "illegal Unicode character" : "surrogates not allowed";
        return std::nullopt;
      }
      append_utf8(c, text);
      offset += 2 + count;
    } else if (letter == 'N') {
      error = "named characters (\\N) are not supported";
      return std::nullopt;
    } else {
      text += '\\';
      ++offset;
    }
  }
  return text;
}

}  // namespace qround::jinja
