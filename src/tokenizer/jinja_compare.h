// Python's ==, <, in between values.
#pragma once

#include <compare>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

bool equal(Budget& budget, const Value& a, const Value& b);

enum class Ordering { less, less_or_equal, greater, greater_or_equal };

// Throws Error "'<' not supported between instances of 'str' and 'int'" where Python raises
// TypeError.
bool ordered(Budget& budget, Ordering ordering, const Value& a, const Value& b);

// `element in container`; throws Error when the container cannot hold anything.
bool contains(Budget& budget, const Value& container, const Value& element);

}  // namespace qround::jinja
