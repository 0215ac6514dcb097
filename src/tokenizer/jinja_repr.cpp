#include "tokenizer/jinja_repr.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_macro.h"
#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

void append_escaped(std::string& out, char32_t c, char quote) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (is_printable(c)) {
    append_utf8(c, out);
  } else if (c < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
}

class ReprWriter {
 public:
  explicit ReprWriter(TextBuilder& out) : out_(out) {}

  void write(const Value& value) {
    switch (value.type()) {
      case Type::none:
        out_.append("None");
        return;
      case Type::undefined:
        out_.append("Undefined");
        return;
      case Type::boolean:
        out_.append(value.as_boolean() ? "True" : "False");
        return;
      case Type::integer:
        out_.append(fmt::format("{}", value.as_integer()));
        return;
      case Type::big_integer:
        out_.append(value.as_big_integer().to_string());
        return;
      case Type::real:
        out_.append(repr_of_real(value.as_real()));
        return;
      case Type::string:
        write_string(value.as_string());
        return;
      case Type::list:
        write_items(value.items(), "[", "]");
        return;
      case Type::tuple:
        write_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
        return;
      case Type::dict:
        write_dict(value.as_dict());
        return;
      case Type::range:
        write_range(value.as_range());
        return;
      case Type::view:
        write_view(value);
        return;
      case Type::name_space:
        write_name_space(value.as_name_space());
        return;
      case Type::iterator:
        out_.append(fmt::format("<{} object>", value.type_name()));
        return;
      case Type::macro:
        out_.append(describe(value.as_macro()));
        return;
      case Type::function:
        out_.append(fmt::format("<built-in method {}>", value.as_function().name));
        return;
      case Type::loop:
        out_.append(value.as_loop().describe());
        return;
    }
  }

 private:
  void write_string(const String& text) {
    if (text.markup) out_.append("Markup(");
    out_.append(repr_of_text(text.bytes));
    if (text.markup) out_.append(")");
  }

  void write_items(const Value::Items& items, std::string_view open, std::string_view close) {
    out_.append(open);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.append(", ");
      write(items[i]);
    }
    out_.append(close);
  }

  void write_dict(const Dict& dict) {
    out_.append("{");
    for (size_t i = 0; i < dict.members.size(); ++i) {
      if (i > 0) out_.append(", ");
      write(dict.members[i].first);
      out_.append(": ");
      write(dict.members[i].second);
    }
    out_.append("}");
  }

  void write_range(const Range& range) {
    out_.append(fmt::format("range({}, {}", range.start, range.stop));
    if (range.step != 1) out_.append(fmt::format(", {}", range.step));
    out_.append(")");
  }

  void write_view(const Value& value) {
    const View& view = value.as_view();
    out_.append(value.type_name()).append("([");
    for (size_t i = 0; i < view.dict->members.size(); ++i) {
      if (i > 0) out_.append(", ");
      write(view.at(i));
    }
    out_.append("])");
  }

  // A namespace may hold itself: the only way a value's repr has no end.
  void write_name_space(const Namespace& space) {
    if (++n_open_namespaces_ > kMaxOpenNamespaces) {
      throw Error("maximum recursion depth exceeded while getting the repr of an object");
    }
    out_.append("<Namespace ");
    write_dict(space.attributes);
    out_.append(">");
    --n_open_namespaces_;
  }

  static constexpr int kMaxOpenNamespaces = 8;

  TextBuilder& out_;
  int n_open_namespaces_ = 0;
};

}  // namespace

std::string repr_of_text(std::string_view text) {
  const bool double_quoted =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quoted ? '"' : '\'';
  std::string out(1, quote);
  for (size_t offset = 0; offset < text.size();) {
    append_escaped(out, next_code_point(text, offset), quote);
  }
  return out += quote;
}

std::string repr_of_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return format_double(value);
}

void append_str(TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    out.append(value.bytes());
  } else if (!value.is_undefined()) {
    append_repr(out, value);
  }
}

void append_repr(TextBuilder& out, const Value& value) { ReprWriter(out).write(value); }

std::string to_str(Budget& budget, const Value& value) {
  TextBuilder out(budget);
  append_str(out, value);
  return out.take();
}

std::string to_repr(Budget& budget, const Value& value) {
  TextBuilder out(budget);
  append_repr(out, value);
  return out.take();
}

}  // namespace qround::jinja
