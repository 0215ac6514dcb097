// The characters whose upper or title case is more than one character.
#pragma once

#include <span>
#include <string_view>

namespace qround::jinja {

struct SpecialCase {
  char32_t code_point;
  std::string_view upper;  // UTF-8
  std::string_view title;
};

std::span<const SpecialCase> special_cases();  // by code point, ascending

}  // namespace qround::jinja
