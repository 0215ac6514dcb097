#include "tokenizer/jinja_function.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace qround::jinja {

const Value* Arguments::find_named(std::string_view name) const {
  const auto found = std::find_if(named.begin(), named.end(),
                                  [&](const auto& pair) { return pair.first == name; });
  return found == named.end() ? nullptr : &found->second;
}

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, size_t n_required)
    : function_(function), values_(names.size()) {
  if (arguments.positional.size() > names.size()) {
    throw Error(fmt::format("{}() takes at most {} arguments ({} given)", function, names.size(),
                            arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      throw Error(fmt::format("{}() got an unexpected keyword argument '{}'", function, name));
    }
    const Value*& slot = values_[static_cast<size_t>(found - names.begin())];
    if (slot != nullptr) {
      throw Error(fmt::format("{}() got multiple values for argument '{}'", function, name));
    }
    slot = &value;
  }
  for (size_t i = 0; i < n_required; ++i) {
    if (values_[i] == nullptr) {
      throw Error(fmt::format("{}() missing required argument '{}'", function, names.begin()[i]));
    }
  }
}

bool Parameters::flag(size_t index, bool fallback) const {
  return values_[index] == nullptr ? fallback : values_[index]->truthy();
}

int64_t Parameters::integer(size_t index) const {
  const Value& value = at(index);
  if (const auto number = value.to_index()) return *number;
  if (value.is_undefined()) throw Error(value.as_undefined().message());
  throw Error(fmt::format("{}(): '{}' object cannot be interpreted as an integer", function_,
                          value.type_name()));
}

int64_t Parameters::integer(size_t index, int64_t fallback) const {
  return values_[index] == nullptr ? fallback : integer(index);
}

const String& Parameters::string(size_t index) const {
  if (!at(index).is_string()) {
    throw Error(fmt::format("{}() argument {} must be str, not {}", function_, index + 1,
                            at(index).type_name()));
  }
  return at(index).as_string();
}

bool Parameters::is_given(size_t index) const {
  return values_[index] != nullptr && !values_[index]->is_none();
}

void refuse_arguments(std::string_view function, const Arguments& arguments) {
  [[maybe_unused]] const Parameters none(function, arguments, {});
}

}  // namespace qround::jinja
