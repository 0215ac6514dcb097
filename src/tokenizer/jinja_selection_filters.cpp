// Filters that map or select elements with another filter or test.
#include <fmt/format.h>

#include <array>
#include <functional>

#include "base/error.h"
#include "tokenizer/jinja_attribute_path.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_generator.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_tests.h"

namespace qround::jinja {
namespace {

using Mapping = std::function<Value(const Value&)>;
using Condition = std::function<bool(const Value&)>;

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

Next map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  const bool by_attribute =
      arguments.positional.empty() && arguments.find_named("attribute") != nullptr;
  Mapping mapping =
      by_attribute ? attribute_mapping(runtime, arguments) : filter_mapping(runtime, arguments);
  return [next = iterate(runtime.budget, input), mapping = std::move(mapping)] {
    const auto item = next();
    return item ? std::optional<Value>(mapping(*item)) : std::nullopt;
  };
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

Next select_where(Runtime& runtime, const Value& input, Condition wanted) {
  return [next = iterate(runtime.budget, input), wanted = std::move(wanted)] {
    auto item = next();
    while (item && !wanted(*item)) item = next();
    return item;
  };
}

template <bool kWanted>
Next select(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  return select_where(runtime, input, [test = condition(runtime, arguments, 0)](const Value& item) {
    return test(item) == kWanted;
  });
}

template <bool kWanted>
Next select_by_attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return nothing();
  if (arguments.positional.empty()) throw Error("Missing parameter for attribute name");
  return select_where(runtime, input,
                      [&runtime, path = AttributePath(arguments.positional[0]),
                       test = condition(runtime, arguments, 1)](const Value& item) {
                        return test(path.get(runtime, item)) == kWanted;
                      });
}

constexpr auto kFilters = std::to_array<Filter>({
    {"map", lazy<map>},
    {"reject", lazy<select<false>>},
    {"rejectattr", lazy<select_by_attribute<false>>},
    {"select", lazy<select<true>>},
    {"selectattr", lazy<select_by_attribute<true>>},
});

}  // namespace

std::span<const Filter> selection_filters() { return kFilters; }

}  // namespace qround::jinja
