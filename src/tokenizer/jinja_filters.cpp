#include "tokenizer/jinja_filters.h"

#include <algorithm>
#include <array>

#include "tokenizer/jinja_repr.h"

namespace qround::jinja {

Native find_filter(std::string_view name) {
  for (const auto filters : {text_filters(), sequence_filters(), selection_filters(),
                             number_filters(), value_filters()}) {
    for (const Filter& filter : filters) {
      if (filter.name == name) return filter.native;
    }
  }
  return nullptr;
}

bool is_unsupported_filter(std::string_view name) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"});
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Value soft_string(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : Value::string(to_str(runtime.budget, value));
}

}  // namespace qround::jinja
