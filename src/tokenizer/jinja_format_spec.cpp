#include "tokenizer/jinja_format_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

constexpr size_t kMaxCount = 1'000'000'000;  // of width and precision, as read

bool is_align(char32_t c) { return c == '<' || c == '>' || c == '^' || c == '='; }

std::optional<size_t> read_count(std::string_view text, size_t& offset) {
  if (offset == text.size() || text[offset] < '0' || text[offset] > '9') return std::nullopt;
  size_t count = 0;
  for (; offset < text.size() && text[offset] >= '0' && text[offset] <= '9'; ++offset) {
    count = count * 10 + static_cast<size_t>(text[offset] - '0');
    if (count > kMaxCount) throw Error("Too many decimal digits in format string");
  }
  return count;
}

// `prefix` is the sign and base mark that '=' keeps in front of the padding.
std::string pad(Budget& budget, const FormatSpec& spec, char default_align, std::string_view prefix,
                std::string_view body) {
  const size_t length = count_code_points(prefix) + count_code_points(body);
  const size_t missing = spec.width > length ? spec.width - length : 0;
  std::string fill;
  append_utf8(spec.fill, fill);
  const char align = spec.align != 0 ? spec.align : default_align;
  TextBuilder out(budget);
  if (align == '=') out.append(prefix);
  const size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  out.append(before, fill);
  if (align != '=') out.append(prefix);
  out.append(body).append(missing - before, fill);
  return out.take();
}

std::string group_digits(std::string_view digits, char separator, size_t size) {
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % size == 0) grouped += separator;
    grouped += digits[i];
  }
  return grouped;
}

std::string sign_of(const FormatSpec& spec, bool negative) {
  if (negative) return std::string(1, '-');
  return std::string(spec.sign == '-' ? 0 : 1, spec.sign);
}

int base_of(char type) {
  switch (type) {
    case 'b':
      return 2;
    case 'o':
      return 8;
    case 'x':
    case 'X':
      return 16;
    default:
      return 10;
  }
}

std::string digits_of(const Value& value, int base) {
  BigInteger rest = to_big_integer(value);
  if (rest.is_negative()) rest = rest.negated();
  if (base == 10) return rest.to_string();
  std::string reversed;
  while (!rest.is_zero()) {
    const auto division = BigInteger::divide(rest, BigInteger(base));
    reversed += "0123456789abcdef"[*division.remainder.to_int64()];
    rest = division.quotient;
  }
  if (reversed.empty()) reversed.push_back('0');
  return {reversed.rbegin(), reversed.rend()};
}

std::string to_upper_ascii(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

std::string print_real(Budget& budget, char type, bool alternate, size_t precision, double value) {
  constexpr size_t kMaxIntegerDigits = 320;
  budget.produce(precision + kMaxIntegerDigits);
  std::string text(precision + kMaxIntegerDigits, '\0');
  std::string format = alternate ? "%#.*" : "%.*";
  format += type;
  const int size =
      std::snprintf(text.data(), text.size(), format.c_str(), static_cast<int>(precision), value);
  text.resize(static_cast<size_t>(size));
  return text;
}

// The digits of a non-negative real by the type of the spec.
std::string body_of_real(Budget& budget, const FormatSpec& spec, double value) {
  if (std::isnan(value))
    return spec.type == 'F' || spec.type == 'E' || spec.type == 'G' ? "NAN" : "nan";
  if (std::isinf(value))
    return spec.type == 'F' || spec.type == 'E' || spec.type == 'G' ? "INF" : "inf";
  if (spec.type == 0 && !spec.precision) return repr_of_real(value);
  if (spec.type == '%') {
    return print_real(budget, 'f', spec.alternate, spec.precision.value_or(6), value * 100) + "%";
  }
  const char type = spec.type == 0 || spec.type == 'n' ? 'g' : spec.type;
  std::string text = print_real(budget, type, spec.alternate, spec.precision.value_or(6), value);
  if (spec.type == 0 && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void refuse_type(const FormatSpec& spec, std::string_view types, std::string_view object) {
  if (spec.type != 0 && types.find(spec.type) == std::string_view::npos) {
    throw Error(fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, object));
  }
}

}  // namespace

FormatSpec FormatSpec::parse(std::string_view text) {
  FormatSpec spec;
  size_t offset = 0;
  if (!text.empty()) {
    size_t second = 0;
    const char32_t first = next_code_point(text, second);
    if (second < text.size() && is_align(static_cast<unsigned char>(text[second]))) {
      spec.fill = first;
      spec.align = text[second];
      offset = second + 1;
    } else if (is_align(first)) {
      spec.align = text[0];
      offset = 1;
    }
  }
  const auto at = [&](std::string_view choices) {
    return offset < text.size() && choices.find(text[offset]) != std::string_view::npos;
  };
  if (at("+- ")) spec.sign = text[offset++];
  if (at("#")) {
    spec.alternate = true;
    ++offset;
  }
  if (at("0")) {
    ++offset;
    if (spec.align == 0) {
      spec.align = '=';
      spec.fill = '0';
    }
  }
  spec.width = read_count(text, offset).value_or(0);
  if (at(",_")) spec.grouping = text[offset++];
  if (at(".")) {
    ++offset;
    spec.precision = read_count(text, offset);
    if (!spec.precision) throw Error("Format specifier missing precision");
  }
  if (offset < text.size()) spec.type = text[offset++];
  if (offset < text.size()) throw Error("Invalid format specifier");
  return spec;
}

std::string format_text(Budget& budget, const FormatSpec& spec, std::string_view text) {
  if (spec.precision && *spec.precision < text.size()) {
    text = text.substr(0, byte_offset(text, *spec.precision));
  }
  return pad(budget, spec, '<', {}, text);
}

std::string format_integer(Budget& budget, const FormatSpec& spec, const Value& value) {
  refuse_type(spec, "bcdoxXneEfFgG%", "int");
  if (spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos) {
    return format_real(budget, spec, *value.to_double());
  }
  if (spec.type == 'c') {
    const int64_t code = value.to_index().value_or(-1);
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      throw Error("%c arg not in range(0x110000)");
    }
    std::string text;
    append_utf8(static_cast<char32_t>(code), text);
    return pad(budget, spec, '<', {}, text);
  }
  const int base = base_of(spec.type);
  if (value.is_big_integer()) {
    const size_t bits = value.as_big_integer().bit_length();
    budget.step(bits * bits / 16);
  }
  std::string digits = digits_of(value, base);
  std::string prefix = sign_of(spec, to_big_integer(value).is_negative());
  if (spec.alternate && base != 10) {
    prefix += '0';
    prefix += spec.type;
  }
  if (spec.type == 'X') digits = to_upper_ascii(std::move(digits));
  if (spec.grouping != 0) digits = group_digits(digits, spec.grouping, base == 10 ? 3 : 4);
  return pad(budget, spec, '>', prefix, digits);
}

std::string format_real(Budget& budget, const FormatSpec& spec, double value) {
  refuse_type(spec, "eEfFgGn%", "float");
  std::string body = body_of_real(budget, spec, std::abs(value));
  if (spec.grouping != 0) {
    const size_t whole = std::min(body.find_first_not_of("0123456789"), body.size());
    body = group_digits(body.substr(0, whole), spec.grouping, 3) + body.substr(whole);
  }
  const bool negative = std::signbit(value) && !std::isnan(value);
  return pad(budget, spec, '>', sign_of(spec, negative), body);
}

std::string format_value(Budget& budget, const FormatSpec& spec, const Value& value) {
  if (value.is_real()) return format_real(budget, spec, value.as_real());
  if (value.is_boolean() && spec.type == 0) {
    return format_text(budget, spec, to_str(budget, value));
  }
  if (value.is_number()) return format_integer(budget, spec, value);
  refuse_type(spec, "s", value.type_name());
  return format_text(budget, spec, to_str(budget, value));
}

}  // namespace qround::jinja
