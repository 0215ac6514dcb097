#include "tokenizer/jinja_number_text.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string>

#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

// The digits without their underscores; nullopt when an underscore does not stand between two
// digits.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() ||
               !std::isalnum(static_cast<unsigned char>(text[i - 1])) ||
               !std::isalnum(static_cast<unsigned char>(text[i + 1]))) {
      return std::nullopt;
    }
  }
  return digits;
}

int prefix_base(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 10;
  switch (text[1]) {
    case 'b':
    case 'B':
      return 2;
    case 'o':
    case 'O':
      return 8;
    case 'x':
    case 'X':
      return 16;
    default:
      return 10;
  }
}

bool is_real_text(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - begin;
  };
  size_t n_digits = digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    n_digits += digits();
  }
  if (n_digits == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

}  // namespace

std::optional<Value> parse_integer(std::string_view text, int base) {
  text = strip(text, Side::both);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (const int prefixed = prefix_base(text); prefixed != 10 && (base == 0 || base == prefixed)) {
    base = prefixed;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
  } else if (base == 0) {
    if (text.size() > 1 && text[0] == '0' &&
        text.find_first_not_of("0_") != std::string_view::npos) {
      return std::nullopt;  // "012" is no number in Python
    }
    base = 10;
  }
  const auto digits = without_underscores(text);
  if (!digits) return std::nullopt;
  const auto magnitude = BigInteger::parse(*digits, base);
  if (!magnitude) return std::nullopt;
  return Value::integer(negative ? magnitude->negated() : *magnitude);
}

std::optional<double> parse_real(std::string_view text) {
  text = strip(text, Side::both);
  const auto plain = without_underscores(text);
  if (!plain) return std::nullopt;
  std::string_view unsigned_part = *plain;
  const bool negative = unsigned_part.starts_with('-');
  if (negative || unsigned_part.starts_with('+')) unsigned_part.remove_prefix(1);
  const std::string lower = to_lower(unsigned_part);
  double value = 0;
  if (lower == "inf" || lower == "infinity") {
    value = HUGE_VAL;
  } else if (lower == "nan") {
    value = NAN;
  } else if (is_real_text(unsigned_part)) {
    value = std::strtod(std::string(unsigned_part).c_str(), nullptr);
  } else {
    return std::nullopt;
  }
  return negative ? -value : value;
}

}  // namespace qround::jinja
