// Python's str() and repr() of values.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// A quoted literal, with ' unless the text holds ' and no ".
std::string repr_of_text(std::string_view text);
std::string repr_of_real(double value);  // "1.0", "1e+20", "nan", "inf"

void append_str(TextBuilder& out, const Value& value);
void append_repr(TextBuilder& out, const Value& value);
std::string to_str(Budget& budget, const Value& value);
std::string to_repr(Budget& budget, const Value& value);

}  // namespace qround::jinja
