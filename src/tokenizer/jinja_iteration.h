// Elements, lengths, subscripts and slices of whatever can be walked through.
#pragma once

#include <functional>
#include <optional>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

using Next = std::function<std::optional<Value>()>;

bool is_iterable(const Value& value);
// A function that yields one element per call: code points of a string, keys of a dict, ... It
// keeps the value alive but not the budget. Throws Error "'int' object is not iterable".
Next iterate(Budget& budget, const Value& value);
Value::Items to_items(Budget& budget, const Value& value);

// len(): nullopt for values without one.
std::optional<size_t> length(const Value& value);

// `value[key]` by position or key, nullopt where Python raises TypeError, IndexError or KeyError.
std::optional<Value> element(Budget& budget, const Value& value, const Value& key);

// `value[start:stop:step]`, each part an integer or None. Throws Error as Python does.
struct Slice {
  Value start, stop, step;
};
Value slice(Budget& budget, const Value& value, const Slice& bounds);

}  // namespace qround::jinja
