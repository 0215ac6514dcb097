#include "tokenizer/jinja_str_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_format_spec.h"
#include "tokenizer/jinja_markup.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

std::optional<size_t> as_index(std::string_view text) {
  constexpr size_t kMaxDigits = 9;
  const bool digits =
      !text.empty() && text.size() <= kMaxDigits &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) return std::nullopt;
  return std::stoul(std::string(text));
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Arguments& arguments, bool escape)
      : runtime_(runtime), arguments_(arguments), escape_(escape) {}

  std::string format(std::string_view text, int depth = 0) {
    if (depth > 2) throw Error("Max string recursion exceeded");
    TextBuilder out(runtime_.budget);
    for (size_t offset = 0; offset < text.size();) {
      const size_t brace = std::min(text.find_first_of("{}", offset), text.size());
      out.append(text.substr(offset, brace - offset));
      offset = brace;
      if (offset == text.size()) break;
      const char c = text[offset];
      if (offset + 1 < text.size() && text[offset + 1] == c) {
        out.append(c);
        offset += 2;
      } else if (c == '}') {
        throw Error("Single '}' encountered in format string");
      } else {
        const size_t end = field_end(text, offset + 1);
        out.append(field(text.substr(offset + 1, end - offset - 1), depth));
        offset = end + 1;
      }
    }
    return out.take();
  }

 private:
  static size_t field_end(std::string_view text, size_t offset) {
    int depth = 1;
    for (; offset < text.size(); ++offset) {
      depth += text[offset] == '{' ? 1 : text[offset] == '}' ? -1 : 0;
      if (depth == 0) return offset;
    }
    throw Error(text.back() == '{' ? "Single '{' encountered in format string"
                                   : "expected '}' before end of string");
  }

  // name[!conversion][:spec]
  std::string field(std::string_view text, int depth) {
    runtime_.budget.step();
    const size_t name_end = std::min(text.find_first_of("!:"), text.size());
    const std::string_view name = text.substr(0, name_end);
    std::string_view rest = text.substr(name_end);
    char conversion = 0;
    if (!rest.empty() && rest[0] == '!') {
      if (rest.size() < 2) throw Error("end of string while looking for conversion specifier");
      conversion = rest[1];
      rest.remove_prefix(2);
      if (!rest.empty() && rest[0] != ':') throw Error("expected ':' after conversion specifier");
    }
    if (!rest.empty()) rest.remove_prefix(1);
    const Value value = converted(resolve(name), conversion);
    if (value.is_undefined() && !rest.empty()) {
      throw Error("unsupported format string passed to Undefined.__format__");
    }
    const FormatSpec spec = FormatSpec::parse(format(rest, depth + 1));
    const std::string shown = format_value(runtime_.budget, spec, value);
    return escape_ ? escaped(runtime_.budget, Value::string(shown)) : shown;
  }

  Value converted(Value value, char conversion) {
    switch (conversion) {
      case 0:
        return value;
      case 's':
        return Value::string(to_str(runtime_.budget, value));
      case 'r':
      case 'a':
        return Value::string(to_repr(runtime_.budget, value));
      default:
        throw Error(fmt::format("Unknown conversion specifier {}", conversion));
    }
  }

  // first(.attribute | [element])*
  Value resolve(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first_end));
    for (size_t offset = first_end; offset < name.size();) {
      if (name[offset] == '.') {
        const size_t end = std::min(name.find_first_of(".[", offset + 1), name.size());
        value = get_attribute(runtime_, value, name.substr(offset + 1, end - offset - 1));
        offset = end;
      } else if (name[offset] == '[') {
        const size_t end = name.find(']', offset);
        if (end == std::string_view::npos) throw Error("Missing ']' in format string");
        const std::string_view key = name.substr(offset + 1, end - offset - 1);
        const auto index = as_index(key);
        value = get_element(
            runtime_, value,
            index ? Value::integer(static_cast<int64_t>(*index)) : Value::string(std::string(key)));
        offset = end + 1;
      } else {
        throw Error("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value argument(std::string_view name) {
    if (name.empty()) return positional(n_automatic_++);
    if (const auto index = as_index(name)) return positional(*index);
    if (const Value* value = arguments_.find_named(name)) return *value;
    throw Error(repr_of_text(name));
  }

  Value positional(size_t index) const {
    if (index < arguments_.positional.size()) return arguments_.positional[index];
    throw Error(fmt::format("Replacement index {} out of range for positional args tuple", index));
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  bool escape_;
  size_t n_automatic_ = 0;
};

}  // namespace

std::string format_braces(Runtime& runtime, const String& format, const Arguments& arguments) {
  return BraceFormatter(runtime, arguments, format.markup).format(format.bytes);
}

}  // namespace qround::jinja
