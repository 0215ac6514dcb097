// Numbers written as text, read as Python's int() and float() read them.
#pragma once

#include <optional>
#include <string_view>

#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// White space around and single underscores between digits are allowed; base 0 takes the base from
// the prefix 0b, 0o or 0x. nullopt when the text is no integer.
std::optional<Value> parse_integer(std::string_view text, int base);
std::optional<double> parse_real(std::string_view text);

}  // namespace qround::jinja
