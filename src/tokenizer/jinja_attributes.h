// `value.name` and `value[key]` with the rules of Jinja's sandbox.
#pragma once

#include <string_view>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

// The attribute (a method), else the element of that name, else undefined. Using an undefined
// value's attribute throws Error with its message. What would change a list or dict is undefined.
Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
// The element, else for a string key the attribute, else undefined.
Value get_element(Runtime& runtime, const Value& value, const Value& key);
// The attribute alone, as the filter `attr` looks it up.
Value get_attribute_only(Runtime& runtime, const Value& value, std::string_view name);

// Methods by name: how each type's methods are found. nullptr when there is none.
struct Method {
  std::string_view name;
  Native native;  // nullptr: exists in the reference, but would change the object
};
const Method* find_string_method(std::string_view name);
const Method* find_sequence_method(const Value& sequence, std::string_view name);
const Method* find_dict_method(std::string_view name);

}  // namespace qround::jinja
