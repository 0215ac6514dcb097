// Filters that map or select elements with another filter or test. They are lazy, as in the
// reference: an element is looked at when it is asked for.
#include <fmt/format.h>

#include <array>
#include <functional>

#include "base/error.h"
#include "tokenizer/jinja_attribute_path.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_tests.h"

namespace qround::jinja {
namespace {

using Mapping = std::function<Value(const Value&)>;
using Condition = std::function<bool(const Value&)>;

Value generator(const Value& source, Next next) {
  return Value::iterator("generator", source, std::move(next));
}

Value nothing() {
  return generator(Value(), [] { return std::nullopt; });
}

Arguments without_first(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Mapping attribute_mapping(Runtime& runtime, const Arguments& arguments) {
  for (const auto& [name, value] : arguments.named) {
    if (name != "attribute" && name != "default") {
      throw Error(fmt::format("Unexpected keyword argument {}", repr_of_text(name)));
    }
  }
  const Parameters parameters("map", arguments, {"attribute", "default"});
  const AttributePath path(parameters.at(0));
  if (parameters.is_given(1)) {
    return [&runtime, path, fallback = parameters.at(1)](const Value& item) {
      return path.get(runtime, item, fallback);
    };
  }
  return [&runtime, path](const Value& item) { return path.get(runtime, item); };
}

Mapping filter_mapping(Runtime& runtime, const Arguments& arguments) {
  if (arguments.positional.empty()) throw Error("map requires a filter argument");
  const std::string name = to_str(runtime.budget, arguments.positional[0]);
  const Native filter = find_filter(name);
  if (filter == nullptr) throw Error(fmt::format("No filter named {}.", repr_of_text(name)));
  return [&runtime, filter, rest = without_first(arguments, 1)](const Value& item) {
    return filter(runtime, item, rest);
  };
}

Value map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  const bool by_attribute =
      arguments.positional.empty() && arguments.find_named("attribute") != nullptr;
  Mapping mapping =
      by_attribute ? attribute_mapping(runtime, arguments) : filter_mapping(runtime, arguments);
  return generator(input,
                   [&runtime, next = iterate(runtime.budget, input),
                    mapping = std::move(mapping)]() -> std::optional<Value> {
                     const Budget::Level level(runtime.budget);
                     const auto item = next();
                     return item ? std::optional<Value>(mapping(*item)) : std::nullopt;
                   });
}

// The test named by the argument at `index` with those behind it, or the element's own truth.
Condition condition(Runtime& runtime, const Arguments& arguments, size_t index) {
  if (arguments.positional.size() <= index) return [](const Value& item) { return item.truthy(); };
  const std::string name = to_str(runtime.budget, arguments.positional[index]);
  const TestFunction test = find_test(name);
  if (test == nullptr) throw Error(fmt::format("No test named {}.", repr_of_text(name)));
  return [&runtime, test, rest = without_first(arguments, index + 1)](const Value& item) {
    return test(runtime, item, rest);
  };
}

Value select_where(Runtime& runtime, const Value& input, Condition wanted) {
  return generator(input,
                   [&runtime, next = iterate(runtime.budget, input),
                    wanted = std::move(wanted)]() -> std::optional<Value> {
                     const Budget::Level level(runtime.budget);
                     while (auto item = next()) {
                       if (wanted(*item)) return item;
                     }
                     return std::nullopt;
                   });
}

template <bool kWanted>
Value select(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  return select_where(runtime, input, [test = condition(runtime, arguments, 0)](const Value& item) {
    return test(item) == kWanted;
  });
}

template <bool kWanted>
Value select_by_attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  if (arguments.positional.empty()) throw Error("Missing parameter for attribute name");
  return select_where(runtime, input,
                      [&runtime, path = AttributePath(arguments.positional[0]),
                       test = condition(runtime, arguments, 1)](const Value& item) {
                        return test(path.get(runtime, item)) == kWanted;
                      });
}

constexpr auto kFilters = std::to_array<Filter>({
    {"map", map},
    {"reject", select<false>},
    {"rejectattr", select_by_attribute<false>},
    {"select", select<true>},
    {"selectattr", select_by_attribute<true>},
});

}  // namespace

std::span<const Filter> selection_filters() { return kFilters; }

}  // namespace qround::jinja
