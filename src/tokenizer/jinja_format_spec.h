// One field of a formatted text, shared by `'%05.2f' % x` and `'{:05.2f}'.format(x)`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

struct FormatSpec {
  char32_t fill = ' ';
  char align = 0;   // '<', '>', '^', '=' (between sign and digits); 0: the default of the type
  char sign = '-';  // '+', ' ' or '-'
  bool alternate = false;
  char grouping = 0;  // ',' or '_'
  size_t width = 0;
  std::optional<size_t> precision;
  char type = 0;  // 0: none given

  // Python's format mini-language: [[fill]align][sign][#][0][width][grouping][.precision][type].
  static FormatSpec parse(std::string_view text);
};

// Each returns the padded field.
std::string format_text(Budget& budget, const FormatSpec& spec, std::string_view text);
// `value` is an integer or boolean; the types of reals are accepted too.
std::string format_integer(Budget& budget, const FormatSpec& spec, const Value& value);
std::string format_real(Budget& budget, const FormatSpec& spec, double value);
// By the type of the value, as format() does: numbers, strings, str() of the rest.
std::string format_value(Budget& budget, const FormatSpec& spec, const Value& value);

}  // namespace qround::jinja
