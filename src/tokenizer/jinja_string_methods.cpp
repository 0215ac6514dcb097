// The methods of str.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_markup.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_str_format.h"
#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

// Text that came from `self`, and is markup when `self` is.
Value like(Runtime& runtime, const Value& self, std::string text) {
  return runtime.text(std::move(text), self.as_string().markup);
}

Value like_each(Runtime& runtime, const Value& self, const std::vector<std::string_view>& parts) {
  runtime.budget.produce(parts.size(), sizeof(Value) + sizeof(String));
  Value::Items items;
  items.reserve(parts.size());
  for (std::string_view part : parts) items.push_back(like(runtime, self, std::string(part)));
  return Value::list(std::move(items));
}

// Charges the list that splitting at white space or line ends makes at most.
void charge_pieces(Budget& budget, std::string_view text) {
  const auto n_breaks = std::count_if(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= 0x20 || byte >= 0xC2;
  });
  budget.scan(text.size());
  budget.produce(static_cast<size_t>(n_breaks) + 1, sizeof(std::string_view));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  refuse_arguments("str method", arguments);
  return like(runtime, self, kMap(self.bytes()));
}

template <Side kSide>
Value stripped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("strip", arguments, {"chars"});
  const std::string_view text = parameters.is_given(0)
                                    ? strip(self.bytes(), kSide, parameters.string(0).bytes)
                                    : strip(self.bytes(), kSide);
  return like(runtime, self, std::string(text));
}

template <Side kFrom>
Value split_text(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("split", arguments, {"sep", "maxsplit"});
  const int64_t max_splits = parameters.integer(1, -1);
  if (!parameters.is_given(0)) {
    charge_pieces(runtime.budget, self.bytes());
    return like_each(runtime, self, split_words(self.bytes(), max_splits, kFrom));
  }
  const std::string& separator = parameters.string(0).bytes;
  if (separator.empty()) throw Error("empty separator");
  runtime.budget.scan(self.bytes().size());
  runtime.budget.produce(count_occurrences(self.bytes(), separator) + 1, sizeof(std::string_view));
  return like_each(runtime, self, split(self.bytes(), separator, max_splits, kFrom));
}

Value lines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("splitlines", arguments, {"keepends"});
  charge_pieces(runtime.budget, self.bytes());
  return like_each(runtime, self, split_lines(self.bytes(), parameters.flag(0)));
}

template <Side kFrom>
Value partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("partition", arguments, {"sep"}, 1);
  const std::string& text = self.bytes();
  const std::string& separator = parameters.string(0).bytes;
  if (separator.empty()) throw Error("empty separator");
  const size_t at = kFrom == Side::left ? text.find(separator) : text.rfind(separator);
  const auto part = [&](std::string bytes) { return like(runtime, self, std::move(bytes)); };
  if (at == std::string::npos) {
    return kFrom == Side::left ? Value::tuple({self, part(""), part("")})
                               : Value::tuple({part(""), part(""), self});
  }
  return Value::tuple(
      {part(text.substr(0, at)), parameters.at(0), part(text.substr(at + separator.size()))});
}

// The part of a text that the optional (start, end) arguments select.
struct Window {
  std::string_view text;
  size_t first = 0;    // code points before it
  bool exists = true;  // false when `start` lies behind the end: not even "" is found there
};

Window window(const String& text, const Parameters& parameters, size_t start_index) {
  const auto length = static_cast<int64_t>(text.length);
  const auto place = [&](size_t index, int64_t fallback) {
    if (!parameters.is_given(index)) return fallback;
    const int64_t at = parameters.integer(index);
    return at < 0 ? std::max<int64_t>(0, at + length) : at;
  };
  const int64_t start = place(start_index, 0);
  const int64_t end = std::min(place(start_index + 1, length), length);
  if (start > length || start > end) return {{}, 0, false};
  const std::string_view bytes = text.bytes;
  const size_t begin = byte_offset(bytes, static_cast<size_t>(start));
  const size_t size = byte_offset(bytes.substr(begin), static_cast<size_t>(end - start));
  return {bytes.substr(begin, size), static_cast<size_t>(start), true};
}

template <Side kFrom>
Value find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("find", arguments, {"sub", "start", "end"}, 1);
  const std::string& part = parameters.string(0).bytes;
  runtime.budget.scan(self.bytes().size());
  const Window where = window(self.as_string(), parameters, 1);
  const size_t at = !where.exists         ? std::string_view::npos
                    : kFrom == Side::left ? where.text.find(part)
                                          : where.text.rfind(part);
  if (at == std::string_view::npos) return Value::integer(-1);
  return Value::integer(
      static_cast<int64_t>(where.first + count_code_points(where.text.substr(0, at))));
}

template <Side kFrom>
Value index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value at = find<kFrom>(runtime, self, arguments);
  if (at.as_integer() < 0) throw Error("substring not found");
  return at;
}

Value count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"sub", "start", "end"}, 1);
  runtime.budget.scan(self.bytes().size());
  const Window where = window(self.as_string(), parameters, 1);
  if (!where.exists) return Value::integer(0);
  return Value::integer(
      static_cast<int64_t>(count_occurrences(where.text, parameters.string(0).bytes)));
}

bool has_affix(std::string_view text, const Value& affix, Side side, std::string_view method) {
  if (!affix.is_string()) {
    throw Error(fmt::format("{} first arg must be str or a tuple of str, not {}", method,
                            affix.type_name()));
  }
  return side == Side::left ? text.starts_with(affix.bytes()) : text.ends_with(affix.bytes());
}

template <Side kSide>
Value affixed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  constexpr std::string_view kName = kSide == Side::left ? "startswith" : "endswith";
  const Parameters parameters(kName, arguments, {"prefix", "start", "end"}, 1);
  const Window where = window(self.as_string(), parameters, 1);
  const Value& affix = parameters.at(0);
  if (!affix.is_tuple()) {
    return Value::boolean(has_affix(where.text, affix, kSide, kName) && where.exists);
  }
  runtime.budget.step(affix.items().size());
  const bool any = std::any_of(affix.items().begin(), affix.items().end(), [&](const Value& item) {
    return has_affix(where.text, item, kSide, kName);
  });
  return Value::boolean(any && where.exists);
}

template <Side kSide>
Value without_affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("removeprefix", arguments, {"affix"}, 1);
  std::string_view text = self.bytes();
  const std::string& affix = parameters.string(0).bytes;
  if (kSide == Side::left && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (kSide == Side::right && text.ends_with(affix)) text.remove_suffix(affix.size());
  return like(runtime, self, std::string(text));
}

Value replaced(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  const bool markup = self.as_string().markup;
  const auto part = [&](size_t index) {
    const std::string& bytes = parameters.string(index).bytes;
    return markup ? escaped(runtime.budget, parameters.at(index)) : bytes;
  };
  const std::string old_part = part(0);
  const std::string new_part = part(1);
  runtime.budget.produce(self.bytes().size());
  runtime.budget.produce(count_occurrences(self.bytes(), old_part), new_part.size());
  return Value::string(replace(self.bytes(), old_part, new_part, parameters.integer(2, -1)),
                       markup);
}

Value joined(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"iterable"}, 1);
  const bool markup = self.as_string().markup;
  if (!is_iterable(parameters.at(0))) throw Error("can only join an iterable");
  TextBuilder out(runtime.budget);
  const Next next = iterate(runtime.budget, parameters.at(0));
  for (size_t i = 0; const auto item = next(); ++i) {
    if (i > 0) out.append(self.bytes());
    if (markup) {
      out.append(escaped(runtime.budget, *item));
    } else if (item->is_string()) {
      out.append(item->bytes());
    } else {
      throw Error(
          fmt::format("sequence item {}: expected str instance, {} found", i, item->type_name()));
    }
  }
  return Value::string(out.take(), markup);
}

// Where center, ljust and rjust put the text.
enum class Place { left, center, right };

template <Place kPlace>
Value justified(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width", "fillchar"}, 1);
  const std::string fill = parameters.find(1) == nullptr ? " " : parameters.string(1).bytes;
  if (count_code_points(fill) != 1) {
    throw Error("The fill character must be exactly one character long");
  }
  const auto length = static_cast<int64_t>(self.as_string().length);
  const int64_t width = parameters.integer(0);
  const auto missing = static_cast<size_t>(std::max<int64_t>(0, width - length));
  // CPython gives the odd one to the left when the width is odd.
  const size_t half = missing / 2 + (missing & static_cast<size_t>(width) & 1);
  const size_t before = kPlace == Place::left ? 0 : kPlace == Place::right ? missing : half;
  TextBuilder out(runtime.budget);
  out.append(before, fill).append(self.bytes()).append(missing - before, fill);
  return Value::string(out.take(), self.as_string().markup);
}

Value zero_filled(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("zfill", arguments, {"width"}, 1);
  std::string_view text = self.bytes();
  const auto length = static_cast<int64_t>(self.as_string().length);
  const auto missing = static_cast<size_t>(std::max<int64_t>(0, parameters.integer(0) - length));
  TextBuilder out(runtime.budget);
  if (text.starts_with('+') || text.starts_with('-')) {
    out.append(text[0]);
    text.remove_prefix(1);
  }
  out.append(missing, "0").append(text);
  return Value::string(out.take(), self.as_string().markup);
}

Value tabs_expanded(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("expandtabs", arguments, {"tabsize"});
  const int64_t tab_size = std::max<int64_t>(0, parameters.integer(0, 8));
  TextBuilder out(runtime.budget);
  int64_t column = 0;
  const std::string_view text = self.bytes();
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t c = next_code_point(text, offset);
    if (c == '\t') {
      const int64_t spaces = tab_size == 0 ? 0 : tab_size - column % tab_size;
      out.append(static_cast<size_t>(spaces), " ");
      column += spaces;
    } else {
      out.append(text.substr(begin, offset - begin));
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return Value::string(out.take(), self.as_string().markup);
}

Value formatted(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return Value::string(format_braces(runtime, self.as_string(), arguments),
                       self.as_string().markup);
}

Value formatted_map(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Parameters parameters("format_map", arguments, {"mapping"}, 1);
  if (!parameters.at(0).is_dict()) throw Error("format_map() argument must be a mapping");
  Arguments named;
  for (const auto& [key, value] : parameters.at(0).as_dict().members) {
    if (key.is_string()) named.named.emplace_back(key.bytes(), value);
  }
  return formatted(runtime, self, named);
}

// Whether there is at least one character and each is of the class.
template <bool (*kIs)(char32_t)>
Value all_are(Runtime& runtime, const Value& self, const Arguments& arguments) {
  refuse_arguments("str method", arguments);
  runtime.budget.scan(self.bytes().size());
  const std::string_view text = self.bytes();
  for (size_t offset = 0; offset < text.size();) {
    if (!kIs(next_code_point(text, offset))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

bool is_alphanumeric(char32_t c) { return is_alphabetic(c) || is_numeric(c) || is_digit(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

template <bool (*kIs)(char32_t)>
Value empty_or_all_are(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (self.bytes().empty()) return Value::boolean(true);
  return all_are<kIs>(runtime, self, arguments);
}

// Whether some character has a case and all that have one have this one.
template <bool (*kIs)(char32_t), bool (*kIsNot)(char32_t)>
Value is_cased_as(Runtime& runtime, const Value& self, const Arguments& arguments) {
  refuse_arguments("str method", arguments);
  runtime.budget.scan(self.bytes().size());
  bool any = false;
  for (size_t offset = 0; offset < self.bytes().size();) {
    const char32_t c = next_code_point(self.bytes(), offset);
    if (kIsNot(c) || is_title(c)) return Value::boolean(false);
    any = any || kIs(c);
  }
  return Value::boolean(any);
}

Value is_titled(Runtime& runtime, const Value& self, const Arguments& arguments) {
  refuse_arguments("istitle", arguments);
  runtime.budget.scan(self.bytes().size());
  bool inside_word = false;
  bool any = false;
  for (size_t offset = 0; offset < self.bytes().size();) {
    const char32_t c = next_code_point(self.bytes(), offset);
    const bool starts_word = is_upper(c) || is_title(c);
    if (starts_word == inside_word && (starts_word || is_lower(c))) return Value::boolean(false);
    inside_word = starts_word || is_lower(c);
    any = any || inside_word;
  }
  return Value::boolean(any);
}

Value is_identifier(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string_view text = self.bytes();
  size_t offset = 0;
  if (text.empty() || !is_identifier_start(next_code_point(text, offset))) {
    return Value::boolean(false);
  }
  return all_are<is_identifier_part>(runtime, self, arguments);
}

Value unsupported(Runtime&, const Value&, const Arguments&) {
  throw Error("this method of str is not supported in chat templates");
}

constexpr auto kMethods = std::to_array<Method>({
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<to_case_folded>},
    {"center", justified<Place::center>},
    {"count", count},
    {"encode", unsupported},
    {"endswith", affixed<Side::right>},
    {"expandtabs", tabs_expanded},
    {"find", find<Side::left>},
    {"format", formatted},
    {"format_map", formatted_map},
    {"index", index<Side::left>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alphabetic>},
    {"isascii", empty_or_all_are<is_ascii>},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", is_identifier},
    {"islower", is_cased_as<is_lower, is_upper>},
    {"isnumeric", all_are<is_numeric>},
    {"isprintable", empty_or_all_are<is_printable>},
    {"isspace", all_are<is_space>},
    {"istitle", is_titled},
    {"isupper", is_cased_as<is_upper, is_lower>},
    {"join", joined},
    {"ljust", justified<Place::left>},
    {"lower", mapped<to_lower>},
    {"lstrip", stripped<Side::left>},
    {"maketrans", unsupported},
    {"partition", partition<Side::left>},
    {"removeprefix", without_affix<Side::left>},
    {"removesuffix", without_affix<Side::right>},
    {"replace", replaced},
    {"rfind", find<Side::right>},
    {"rindex", index<Side::right>},
    {"rjust", justified<Place::right>},
    {"rpartition", partition<Side::right>},
    {"rsplit", split_text<Side::right>},
    {"rstrip", stripped<Side::right>},
    {"split", split_text<Side::left>},
    {"splitlines", lines},
    {"startswith", affixed<Side::left>},
    {"strip", stripped<Side::both>},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<to_title>},
    {"translate", unsupported},
    {"upper", mapped<to_upper>},
    {"zfill", zero_filled},
});

}  // namespace

const Method* find_string_method(std::string_view name) {
  const auto found = std::find_if(kMethods.begin(), kMethods.end(),
                                  [&](const Method& method) { return method.name == name; });
  return found == kMethods.end() ? nullptr : &*found;
}

}  // namespace qround::jinja
