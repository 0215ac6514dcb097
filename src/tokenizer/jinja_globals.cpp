#include "tokenizer/jinja_globals.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // the reference's own bound

int64_t range_argument(const Value& value) {
  if (const auto index = value.to_index()) return *index;
  if (value.is_undefined()) throw Error(value.as_undefined().message());
  throw Error(fmt::format("'{}' object cannot be interpreted as an integer", value.type_name()));
}

Value range(Runtime&, const Value&, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (!arguments.named.empty()) throw Error("range() takes no keyword arguments");
  if (given.empty() || given.size() > 3) {
    throw Error(fmt::format("range expected 1 to 3 arguments, got {}", given.size()));
  }
  const int64_t start = given.size() == 1 ? 0 : range_argument(given[0]);
  const int64_t stop = range_argument(given[given.size() == 1 ? 0 : 1]);
  const int64_t step = given.size() == 3 ? range_argument(given[2]) : 1;
  if (step == 0) throw Error("range() arg 3 must not be zero");
  const Value result = Value::range(start, stop, step);
  const int64_t size = result.as_range().size;
  if (size < 0 || size > kMaxRange) {
    throw Error(fmt::format("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).",
                            kMaxRange));
  }
  return result;
}

// dict(mapping or pairs, name=value, ...), which namespace() takes as well.
Dict members(Runtime& runtime, const Arguments& arguments, std::string_view function) {
  if (arguments.positional.size() > 1) {
    throw Error(fmt::format("{} expected at most 1 argument, got {}", function,
                            arguments.positional.size()));
  }
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_dict()) {
      runtime.budget.produce(source.as_dict().members.size(), sizeof(Dict::Member));
      dict = source.as_dict();
    } else {
      const Next next = iterate(runtime.budget, source);
      for (size_t i = 0; const auto pair = next(); ++i) {
        const Value::Items parts = to_items(runtime.budget, *pair);
        if (parts.size() != 2) {
          throw Error(
              fmt::format("dictionary update sequence element #{} has length {}; 2 is required", i,
                          parts.size()));
        }
        runtime.budget.produce(2 * sizeof(Dict::Member));
        dict.set(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(name, value);
  return dict;
}

Value make_dict(Runtime& runtime, const Value&, const Arguments& arguments) {
  return Value::dict(members(runtime, arguments, "dict"));
}

void check_attribute_name(std::string_view name) {
  if (!name.starts_with('_')) return;
  throw Error(
      fmt::format("Chat templates cannot store underscore-prefixed attributes on a "
                  "namespace, but got {}. Please rename the attribute.",
                  repr_of_text(name)));
}

Value make_namespace(Runtime& runtime, const Value&, const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  space->attributes = members(runtime, arguments, "namespace");
  for (const auto& [name, value] : space->attributes.members) {
    if (name.is_string()) check_attribute_name(name.bytes());
  }
  runtime.budget.produce(sizeof(Namespace) + sizeof(space));
  runtime.namespaces.push_back(space);
  return Value::name_space(std::move(space));
}

Value raise_exception(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Parameters parameters("raise_exception", arguments, {"message"}, 1);
  throw Error(to_str(runtime.budget, parameters.at(0)));
}

// strftime has no bound of its own; one directive at a time keeps the buffer small and the size
// known.
void append_directive(TextBuilder& out, char directive, const std::tm& now) {
  if (directive == 'z' || directive == 'Z') return;  // the reference's time has no zone
  if (directive == 'f') {
    out.append("000000");
    return;
  }
  const char format[] = {'%', directive, '\0'};
  char buffer[256];
  out.append(std::string_view(buffer, std::strftime(buffer, sizeof buffer, format, &now)));
}

Value strftime_now(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Parameters parameters("strftime_now", arguments, {"format"}, 1);
  const std::string& format = parameters.string(0).bytes;
  const std::tm now = runtime.clock();
  TextBuilder out(runtime.budget);
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.append(format[i]);
    } else if (format[i + 1] == '-' && i + 2 < format.size()) {
      // GNU's "no padding": the usual text without its leading zeros or blanks.
      TextBuilder padded(runtime.budget);
      append_directive(padded, format[i + 2], now);
      const std::string text = padded.take();
      const size_t first =
          std::min(text.find_first_not_of("0 "), text.empty() ? 0 : text.size() - 1);
      out.append(std::string_view(text).substr(first));
      i += 2;
    } else {
      append_directive(out, format[++i], now);
    }
  }
  const std::string text = out.take();
  return Value::string(is_utf8(text) ? text : to_utf8_lossy(text));
}

struct Global {
  std::string_view name;
  Native native;
};

constexpr auto kGlobals = std::to_array<Global>({
    {"dict", make_dict},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"range", range},
    {"strftime_now", strftime_now},
});

}  // namespace

std::optional<Value> find_global(const Runtime& runtime, std::string_view name) {
  if (name == "strftime_now" && !runtime.clock) return std::nullopt;
  const auto found = std::find_if(kGlobals.begin(), kGlobals.end(),
                                  [&](const Global& global) { return global.name == name; });
  if (found == kGlobals.end()) return std::nullopt;
  return Value::function({found->name, found->native, Value()});
}

void set_attribute(Runtime& runtime, Namespace& space, std::string_view name, Value value) {
  check_attribute_name(name);
  runtime.budget.produce(2 * sizeof(Value));
  space.attributes.set(name, std::move(value));
}

}  // namespace qround::jinja
