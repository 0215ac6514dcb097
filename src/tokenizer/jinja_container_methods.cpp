// The methods of list, tuple and dict.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_compare.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

Value count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"value"}, 1);
  return Value::integer(std::count_if(
      self.items().begin(), self.items().end(),
      [&](const Value& item) { return equal(runtime.budget, item, parameters.at(0)); }));
}

Value index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("index", arguments, {"value", "start", "stop"}, 1);
  const auto size = static_cast<int64_t>(self.items().size());
  const auto place = [&](size_t position, int64_t fallback) {
    const int64_t at = parameters.integer(position, fallback);
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const int64_t stop = place(2, size);
  for (int64_t at = place(1, 0); at < stop; ++at) {
    if (equal(runtime.budget, self.items()[static_cast<size_t>(at)], parameters.at(0))) {
      return Value::integer(at);
    }
  }
  if (self.is_tuple()) throw Error("tuple.index(x): x not in tuple");
  throw Error(to_repr(runtime.budget, parameters.at(0)) + " is not in list");
}

// Values cannot change, so the copy is the thing itself.
Value copy(Runtime&, const Value& self, const Arguments& arguments) {
  refuse_arguments("copy", arguments);
  return self;
}

Value get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("get", arguments, {"key", "default"}, 1);
  const Value& key = parameters.at(0);
  if (!Dict::can_hold(key)) throw Error(fmt::format("unhashable type: '{}'", key.type_name()));
  if (auto found = element(runtime.budget, self, key)) return *found;
  return parameters.find(1) == nullptr ? Value() : parameters.at(1);
}

template <View::Kind kKind>
Value view(Runtime&, const Value& self, const Arguments& arguments) {
  refuse_arguments("dict method", arguments);
  return Value::view({kKind, self.shared_dict()});
}

constexpr auto kListMethods = std::to_array<Method>({
    {"append", nullptr},
    {"clear", nullptr},
    {"copy", copy},
    {"count", count},
    {"extend", nullptr},
    {"index", index},
    {"insert", nullptr},
    {"pop", nullptr},
    {"remove", nullptr},
    {"reverse", nullptr},
    {"sort", nullptr},
});

constexpr auto kTupleMethods = std::to_array<Method>({
    {"count", count},
    {"index", index},
});

constexpr auto kDictMethods = std::to_array<Method>({
    {"clear", nullptr},
    {"copy", copy},
    {"get", get},
    {"items", view<View::Kind::items>},
    {"keys", view<View::Kind::keys>},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
    {"values", view<View::Kind::values>},
});

const Method* find(std::span<const Method> methods, std::string_view name) {
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const Method& method) { return method.name == name; });
  return found == methods.end() ? nullptr : &*found;
}

}  // namespace

const Method* find_sequence_method(const Value& sequence, std::string_view name) {
  if (sequence.is_list()) return find(kListMethods, name);
  return find(kTupleMethods, name);
}

const Method* find_dict_method(std::string_view name) { return find(kDictMethods, name); }

}  // namespace qround::jinja
