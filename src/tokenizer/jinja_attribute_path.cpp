#include "tokenizer/jinja_attribute_path.h"

#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_number_text.h"
#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {

AttributePath::AttributePath(const Value& attribute) {
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_ = {attribute};
    return;
  }
  for (std::string_view part : split(attribute.bytes(), ".", -1, Side::left)) {
    const bool is_index =
        !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    parts_.push_back(is_index ? *parse_integer(part, 10) : Value::string(std::string(part)));
  }
}

Value AttributePath::get(Runtime& runtime, Value value) const {
  for (const Value& part : parts_) value = get_element(runtime, value, part);
  return value;
}

Value AttributePath::get(Runtime& runtime, Value value, const Value& fallback) const {
  for (const Value& part : parts_) {
    value = get_element(runtime, value, part);
    if (value.is_undefined()) value = fallback;
  }
  return value;
}

Value without_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? runtime.text(to_lower(value.bytes())) : value;
}

}  // namespace qround::jinja
