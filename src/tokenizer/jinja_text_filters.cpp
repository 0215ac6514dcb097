// Filters on text. What is not a string is taken as its str().
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_markup.h"
#include "tokenizer/jinja_printf.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

Value call_method(Runtime& runtime, const Value& input, std::string_view method,
                  const Arguments& arguments) {
  return find_string_method(method)->native(runtime, soft_string(runtime, input), arguments);
}

Value upper(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return call_method(runtime, input, "upper", arguments);
}

Value lower(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return call_method(runtime, input, "lower", arguments);
}

Value capitalized(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return call_method(runtime, input, "capitalize", arguments);
}

Value trim(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return call_method(runtime, input, "strip", arguments);
}

bool starts_new_word(char32_t c) {
  return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

// Words begin after white space and opening brackets, unlike in str.title().
Value title(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("title", arguments);
  const Value text = soft_string(runtime, input);
  const std::string_view bytes = text.bytes();
  TextBuilder out(runtime.budget);
  for (size_t offset = 0; offset < bytes.size();) {
    size_t end = offset;
    const char32_t first = next_code_point(bytes, end);
    if (starts_new_word(first)) {
      out.append(bytes.substr(offset, end - offset));
      offset = end;
      continue;
    }
    out.append(to_upper(bytes.substr(offset, end - offset)));
    const size_t rest = end;
    while (end < bytes.size()) {
      size_t after = end;
      if (starts_new_word(next_code_point(bytes, after))) break;
      end = after;
    }
    out.append(to_lower(bytes.substr(rest, end - rest)));
    offset = end;
  }
  return Value::string(out.take());
}

Value replaced(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  const std::string text = to_str(runtime.budget, input);
  const std::string old_part = to_str(runtime.budget, parameters.at(0));
  const std::string new_part = to_str(runtime.budget, parameters.at(1));
  const int64_t count = parameters.is_given(2) ? parameters.integer(2) : -1;
  runtime.budget.produce(count_occurrences(text, old_part), new_part.size());
  return runtime.text(replace(text, old_part, new_part, count));
}

Value centered(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width"});
  Arguments width;
  width.positional = {Value::integer(parameters.integer(0, 80))};
  return call_method(runtime, input, "center", width);
}

const String& require_text(const Value& input) {
  if (input.is_undefined()) throw Error(input.as_undefined().message());
  if (input.is_list()) throw Error("'list' object has no attribute 'splitlines'");
  if (!input.is_string()) {
    throw Error(
        fmt::format("unsupported operand type(s) for +=: '{}' and 'str'", input.type_name()));
  }
  return input.as_string();
}

Value indented(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("indent", arguments, {"width", "first", "blank"});
  const std::string& text = require_text(input).bytes;
  std::string unit = " ";
  int64_t count = 4;
  if (const Value* width = parameters.find(0)) {
    if (width->is_string()) {
      unit = width->bytes();
      count = 1;
    } else {
      count = parameters.integer(0);
    }
  }
  TextBuilder indention(runtime.budget);
  indention.append(static_cast<size_t>(std::max<int64_t>(0, count)), unit);
  const std::string margin = indention.take();
  const bool blank = parameters.flag(2);
  TextBuilder out(runtime.budget);
  if (parameters.flag(1)) out.append(margin);
  runtime.budget.produce(text.size());
  const std::string closed = text + "\n";  // so that a last empty line counts as one
  const auto lines = split_lines(closed, false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append('\n');
    if (i > 0 && (blank || !lines[i].empty())) out.append(margin);
    out.append(lines[i]);
  }
  return Value::string(out.take(), input.as_string().markup);
}

Value truncated(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t length = parameters.integer(0, 255);
  const std::string end = parameters.find(2) == nullptr ? "..." : parameters.string(2).bytes;
  const int64_t leeway = parameters.is_given(3) ? parameters.integer(3) : 5;
  const auto end_length = static_cast<int64_t>(count_code_points(end));
  if (length < end_length) {
    throw Error(fmt::format("expected length >= {}, got {}", end_length, length));
  }
  if (leeway < 0) throw Error(fmt::format("expected leeway >= 0, got {}", leeway));
  const auto size = jinja::length(input);
  if (!size) throw Error(fmt::format("object of type '{}' has no len()", input.type_name()));
  if (static_cast<int64_t>(*size) - leeway <= length) return input;
  if (!input.is_string()) throw Error("only a string can be truncated");
  const String& text = input.as_string();
  std::string kept =
      text.bytes.substr(0, byte_offset(text.bytes, static_cast<size_t>(length - end_length)));
  if (!parameters.flag(1)) kept = kept.substr(0, kept.rfind(' '));
  return runtime.text(kept + end);
}

Value word_count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("wordcount", arguments);
  const std::string text = to_str(runtime.budget, input);
  int64_t count = 0;
  bool inside = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = next_code_point(text, offset);
    const bool word = c == '_' || is_alphabetic(c) || is_numeric(c);
    if (word && !inside) ++count;
    inside = word;
  }
  return Value::integer(count);
}

Value escape(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("escape", arguments);
  return Value::string(escaped(runtime.budget, input), true);
}

Value force_escape(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("forceescape", arguments);
  const Value plain = Value::string(to_str(runtime.budget, input));
  return Value::string(escaped(runtime.budget, plain), true);
}

Value safe(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("safe", arguments);
  return Value::string(to_str(runtime.budget, input), true);
}

Value formatted(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    throw Error("can't handle positional and keyword arguments at the same time");
  }
  const Value format = soft_string(runtime, input);
  if (arguments.named.empty()) {
    return format_printf(runtime.budget, format, Value::tuple(arguments.positional));
  }
  Dict named;
  for (const auto& [name, value] : arguments.named) named.set(name, value);
  return format_printf(runtime.budget, format, Value::dict(std::move(named)));
}

void append_quoted(TextBuilder& out, std::string_view text, bool for_query) {
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= '0' && byte <= '9') || c == '_' || c == '.' || c == '-' ||
                       c == '~' || (c == '/' && !for_query);
    if (plain) {
      out.append(c);
    } else if (c == ' ' && for_query) {
      out.append('+');
    } else {
      out.append(fmt::format("%{:02X}", byte));
    }
  }
}

Value url_encoded(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("urlencode", arguments);
  TextBuilder out(runtime.budget);
  if (input.is_string() || !is_iterable(input)) {
    append_quoted(out, to_str(runtime.budget, input), false);
    return Value::string(out.take());
  }
  const Value pairs =
      input.is_dict() ? Value::view({View::Kind::items, input.shared_dict()}) : input;
  const Next next = iterate(runtime.budget, pairs);
  for (bool first = true; const auto pair = next(); first = false) {
    const Value::Items parts = to_items(runtime.budget, *pair);
    if (parts.size() != 2) throw Error("urlencode expects pairs");
    if (!first) out.append('&');
    append_quoted(out, to_str(runtime.budget, parts[0]), true);
    out.append('=');
    append_quoted(out, to_str(runtime.budget, parts[1]), true);
  }
  return Value::string(out.take());
}

constexpr auto kFilters = std::to_array<Filter>({
    {"capitalize", capitalized},
    {"center", centered},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", formatted},
    {"indent", indented},
    {"lower", lower},
    {"replace", replaced},
    {"safe", safe},
    {"title", title},
    {"trim", trim},
    {"truncate", truncated},
    {"upper", upper},
    {"urlencode", url_encoded},
    {"wordcount", word_count},
});

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace qround::jinja
