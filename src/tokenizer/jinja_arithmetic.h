// Python's arithmetic operators.
#pragma once

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// Each throws Error with Python's message where the operands do not fit: "unsupported operand
// type(s) for +: 'int' and 'str'", "division by zero", ...
Value add(Budget& budget, const Value& a, const Value& b);  // numbers, strings, lists, tuples
Value subtract(Budget& budget, const Value& a, const Value& b);
Value multiply(Budget& budget, const Value& a, const Value& b);  // sequence * count as well
Value divide(const Value& a, const Value& b);
Value floor_divide(Budget& budget, const Value& a, const Value& b);
Value modulo(Budget& budget, const Value& a, const Value& b);  // string % arguments as well
Value power(Budget& budget, const Value& a, const Value& b);
Value negate(Budget& budget, const Value& a);
Value plus(const Value& a);
Value absolute(Budget& budget, const Value& a);

BigInteger to_big_integer(const Value& value);  // of an integer or boolean

}  // namespace qround::jinja
