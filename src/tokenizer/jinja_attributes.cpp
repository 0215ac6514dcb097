#include "tokenizer/jinja_attributes.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "base/error.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_macro.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

Value is_integer(Runtime&, const Value& self, const Arguments& arguments) {
  refuse_arguments("is_integer", arguments);
  const double value = self.as_real();
  return Value::boolean(std::isfinite(value) && value == std::floor(value));
}

const Method* find_method(const Value& value, std::string_view name) {
  static constexpr Method kIsInteger{"is_integer", is_integer};
  switch (value.type()) {
    case Type::string:
      return find_string_method(name);
    case Type::list:
    case Type::tuple:
      return find_sequence_method(value, name);
    case Type::dict:
      return find_dict_method(name);
    case Type::real:
      return name == kIsInteger.name ? &kIsInteger : nullptr;
    default:
      return nullptr;
  }
}

Value unsafe(const Value& value, std::string_view name) {
  return Value::undefined_because(fmt::format("access to attribute {} of '{}' object is unsafe.",
                                              repr_of_text(name), value.type_name()));
}

bool is_internal(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

std::optional<Value> group_attribute(const Value& group, std::string_view name) {
  if (name == "grouper") return group.items()[0];
  if (name == "list") return group.items()[1];
  return std::nullopt;
}

// What Python's getattr finds; nullopt for AttributeError.
std::optional<Value> own_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_undefined()) throw Error(value.as_undefined().message());
  if (is_internal(name)) return unsafe(value, name);
  if (const Method* method = find_method(value, name)) {
    if (method->native == nullptr) return unsafe(value, name);
    return Value::function({method->name, method->native, value});
  }
  switch (value.type()) {
    case Type::loop:
      return Loop::attribute(runtime, value, name);
    case Type::macro:
      return macro_attribute(value.as_macro(), name);
    case Type::tuple:
      return value.as_sequence().is_group ? group_attribute(value, name) : std::nullopt;
    case Type::name_space: {
      const Value* attribute = value.as_name_space().attributes.find(name);
      return attribute == nullptr ? std::nullopt : std::optional<Value>(*attribute);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

Value get_attribute_only(Runtime& runtime, const Value& value, std::string_view name) {
  if (auto attribute = own_attribute(runtime, value, name)) return *attribute;
  return Value::undefined_attribute(value, name);
}

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (auto attribute = own_attribute(runtime, value, name)) return *attribute;
  if (value.is_dict()) {
    if (const Value* member = value.as_dict().find(name)) return *member;
  }
  return Value::undefined_attribute(value, name);
}

Value get_element(Runtime& runtime, const Value& value, const Value& key) {
  if (value.is_undefined()) throw Error(value.as_undefined().message());
  if (auto found = element(runtime.budget, value, key)) return *found;
  if (key.is_string()) return get_attribute_only(runtime, value, key.bytes());
  return Value::undefined_element(value, to_repr(runtime.budget, key));
}

}  // namespace qround::jinja
