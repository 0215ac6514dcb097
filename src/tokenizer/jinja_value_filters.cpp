// Filters that take any value.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_json.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

Value fallback(Runtime&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("default", arguments, {"default_value", "boolean"});
  if (!input.is_undefined() && !(parameters.flag(1) && !input.truthy())) return input;
  return parameters.find(0) == nullptr ? Value::string("") : parameters.at(0);
}

Value as_string(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("string", arguments);
  return soft_string(runtime, input);
}

Value count(Runtime&, const Value& input, const Arguments& arguments) {
  refuse_arguments("length", arguments);
  if (const auto size = length(input)) return Value::integer(static_cast<int64_t>(*size));
  throw Error(fmt::format("object of type '{}' has no len()", input.type_name()));
}

Value attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("attr", arguments, {"name"}, 1);
  return get_attribute_only(runtime, input, to_str(runtime.budget, parameters.at(0)));
}

std::string indent_of(Runtime& runtime, const Value& indent) {
  if (indent.is_string()) return indent.bytes();
  const auto width = indent.to_index();
  if (!width) throw Error("tojson: indent must be an integer or a string");
  TextBuilder out(runtime.budget);
  out.append(static_cast<size_t>(std::max<int64_t>(0, *width)), " ");
  return out.take();
}

Value to_json(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("tojson", arguments,
                              {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = parameters.flag(0);
  style.sort_keys = parameters.flag(3);
  if (parameters.is_given(1)) {
    style.indent = indent_of(runtime, parameters.at(1));
    style.item_separator.assign(1, ',');
  }
  if (parameters.is_given(2)) {
    const Value::Items separators = to_items(runtime.budget, parameters.at(2));
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      throw Error("tojson: separators must be two strings");
    }
    style.item_separator = separators[0].bytes();
    style.key_separator = separators[1].bytes();
  }
  return Value::string(dump_json(runtime.budget, input, style));
}

constexpr auto kFilters = std::to_array<Filter>({
    {"attr", attribute},
    {"count", count},
    {"d", fallback},
    {"default", fallback},
    {"length", count},
    {"string", as_string},
    {"tojson", to_json},
});

}  // namespace

std::span<const Filter> value_filters() { return kFilters; }

}  // namespace qround::jinja
