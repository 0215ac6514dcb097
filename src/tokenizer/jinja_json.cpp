#include "tokenizer/jinja_json.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "base/error.h"
#include "tokenizer/jinja_compare.h"
#include "tokenizer/jinja_sort.h"
#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

std::string repaired(const std::string& text) { return is_utf8(text) ? text : to_utf8_lossy(text); }

Value convert(const Json& json, uint32_t level) {
  if (level > kMaxNesting) throw Error("the template's input nests too deeply");
  if (json.is_bool()) return Value::boolean(json.as_bool());
  if (json.is_int()) return Value::integer(json.as_int());
  if (json.is_double()) return Value::real(json.as_double());
  if (json.is_string()) return Value::string(repaired(json.as_string()));
  if (json.is_array()) {
    Value::Items items;
    items.reserve(json.as_array().size());
    for (const Json& item : json.as_array()) items.push_back(convert(item, level + 1));
    return Value::list(std::move(items));
  }
  if (json.is_object()) {
    Dict dict;
    for (const auto& [key, member] : json.as_object()) {
      dict.set(repaired(key), convert(member, level + 1));
    }
    return Value::dict(std::move(dict));
  }
  return Value();
}

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style)
      : budget_(budget), style_(style), out_(budget) {}

  std::string run(const Value& value) {
    write(value);
    return out_.take();
  }

 private:
  void write(const Value& value) {
    switch (value.type()) {
      case Type::none:
        out_.append("null");
        return;
      case Type::boolean:
        out_.append(value.as_boolean() ? "true" : "false");
        return;
      case Type::integer:
        out_.append(fmt::format("{}", value.as_integer()));
        return;
      case Type::big_integer:
        out_.append(value.as_big_integer().to_string());
        return;
      case Type::real:
        out_.append(format_double(value.as_real()));
        return;
      case Type::string:
        write_string(value.bytes());
        return;
      case Type::list:
      case Type::tuple:
        write_items(value.items());
        return;
      case Type::dict:
        write_dict(value.as_dict());
        return;
      default:
        break;
    }
    throw Error(fmt::format("Object of type {} is not JSON serializable", value.type_name()));
  }

  void write_items(const Value::Items& items) {
    if (items.empty()) {
      out_.append("[]");
      return;
    }
    out_.append('[');
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i == 0);
      write(items[i]);
    }
    --level_;
    new_line();
    out_.append(']');
  }

  void write_dict(const Dict& dict) {
    if (dict.members.empty()) {
      out_.append("{}");
      return;
    }
    budget_.produce(dict.members.size(), sizeof(void*));
    std::vector<const Dict::Member*> members;
    for (const auto& member : dict.members) members.push_back(&member);
    if (style_.sort_keys) {
      merge_sort(members, [&](const auto* a, const auto* b) {
        return ordered(budget_, Ordering::less, a->first, b->first);
      });
    }
    out_.append('{');
    ++level_;
    for (size_t i = 0; i < members.size(); ++i) {
      separate(i == 0);
      write_key(members[i]->first);
      out_.append(style_.key_separator);
      write(members[i]->second);
    }
    --level_;
    new_line();
    out_.append('}');
  }

  void write_key(const Value& key) {
    if (key.is_string()) {
      write_string(key.bytes());
    } else if (key.is_none() || key.is_number()) {
      out_.append('"');
      write(key);
      out_.append('"');
    } else {
      throw Error(
          fmt::format("keys must be str, int, float, bool or None, not {}", key.type_name()));
    }
  }

  void write_string(std::string_view text) {
    out_.append('"');
    size_t begin = 0;  // of what is copied as it is
    for (size_t offset = 0; offset < text.size();) {
      const size_t at = offset;
      const char32_t c = next_code_point(text, offset);
      if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7F || !style_.ensure_ascii || c == 0x7F)) {
        continue;
      }
      out_.append(text.substr(begin, at - begin));
      write_escape(c);
      begin = offset;
    }
    out_.append(text.substr(begin)).append('"');
  }

  void write_escape(char32_t c) {
    switch (c) {
      case '"':
        out_.append("\\\"");
        return;
      case '\\':
        out_.append("\\\\");
        return;
      case '\n':
        out_.append("\\n");
        return;
      case '\r':
        out_.append("\\r");
        return;
      case '\t':
        out_.append("\\t");
        return;
      case '\b':
        out_.append("\\b");
        return;
      case '\f':
        out_.append("\\f");
        return;
      default:
        break;
    }
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x10000) {
      out_.append(fmt::format("\\u{:04x}", code));
    } else {
      const uint32_t rest = code - 0x10000;
      out_.append(
          fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF)));
    }
  }

  void separate(bool first) {
    if (!first) out_.append(style_.item_separator);
    new_line();
  }

  void new_line() {
    if (!style_.indent) return;
    out_.append('\n').append(level_, *style_.indent);
  }

  Budget& budget_;
  const JsonStyle& style_;
  TextBuilder out_;
  size_t level_ = 0;
};

}  // namespace

Value from_json(const Json& json) { return convert(json, 1); }

std::string dump_json(Budget& budget, const Value& value, const JsonStyle& style) {
  return JsonWriter(budget, style).run(value);
}

}  // namespace qround::jinja
