// The filters: `value | name(arguments)`.
#pragma once

#include <span>
#include <string_view>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

struct Filter {
  std::string_view name;
  Native native;
};

// nullptr when there is no such filter.
Native find_filter(std::string_view name);
// Whether Jinja has this filter and this engine leaves it out.
bool is_unsupported_filter(std::string_view name);

// By what they work on; find_filter searches all.
std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();   // items, ordering, grouping
std::span<const Filter> selection_filters();  // map, select, reject and their kin
std::span<const Filter> number_filters();
std::span<const Filter> value_filters();  // any value: default, string, tojson, attr, length

// str() of a value that keeps markup as it is.
Value soft_string(Runtime& runtime, const Value& value);

}  // namespace qround::jinja
