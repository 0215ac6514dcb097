#include "tokenizer/jinja_printf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_format_spec.h"
#include "tokenizer/jinja_markup.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

// What Python takes for a mapping here, which need not be used up: all that can be subscripted.
bool may_be_mapping(const Value& value) {
  switch (value.type()) {
    case Type::dict:
    case Type::list:
    case Type::range:
    case Type::undefined:
      return true;
    default:
      return false;
  }
}

class PrintfFormatter {
 public:
  PrintfFormatter(Budget& budget, const String& format, const Value& arguments)
      : budget_(budget),
        format_(format.bytes),
        escape_(format.markup),
        arguments_(arguments),
        out_(budget) {}

  std::string run() {
    while (offset_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', offset_), format_.size());
      out_.append(format_.substr(offset_, percent - offset_));
      offset_ = percent;
      if (offset_ < format_.size()) conversion();
    }
    const bool all_used = arguments_.is_tuple() ? n_used_ >= arguments_.items().size()
                                                : n_used_ > 0 || may_be_mapping(arguments_);
    if (!all_used) throw Error("not all arguments converted during string formatting");
    return out_.take();
  }

 private:
  char peek() const {
    if (offset_ >= format_.size()) throw Error("incomplete format");
    return format_[offset_];
  }

  // At '%': %[(key)][flags][width][.precision]type
  void conversion() {
    ++offset_;
    FormatSpec spec;
    spec.align = '>';
    const Value* keyed = peek() == '(' ? &argument_by_key() : nullptr;
    flags(spec);
    spec.width = count(spec, keyed).value_or(0);
    if (peek() == '.') {
      ++offset_;
      spec.precision = count(spec, keyed).value_or(0);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++offset_;
    const size_t type_offset = offset_;
    const char type = peek();
    ++offset_;
    if (type == '%') {
      out_.append('%');
      return;
    }
    if (std::string_view("srdiuxXoeEfFgGca").find(type) == std::string_view::npos) {
      fail_type(type_offset);
    }
    out_.append(convert(spec, type, keyed != nullptr ? *keyed : next_argument()));
  }

  const Value& argument_by_key() {
    ++offset_;
    const size_t begin = offset_;
    int depth = 1;
    while (depth > 0) {
      depth += peek() == '(' ? 1 : peek() == ')' ? -1 : 0;
      ++offset_;
    }
    if (!arguments_.is_dict()) throw Error("format requires a mapping");
    const std::string_view key = format_.substr(begin, offset_ - 1 - begin);
    const Value* value = arguments_.as_dict().find(key);
    if (value == nullptr) throw Error(repr_of_text(key));
    ++n_used_;
    return *value;
  }

  const Value& next_argument() {
    if (arguments_.is_tuple()) {
      if (n_used_ >= arguments_.items().size()) {
        throw Error("not enough arguments for format string");
      }
      return arguments_.items()[n_used_++];
    }
    if (n_used_++ > 0) throw Error("not enough arguments for format string");
    return arguments_;
  }

  void flags(FormatSpec& spec) {
    bool zero = false;
    bool left = false;
    for (;; ++offset_) {
      switch (peek()) {
        case '-':
          left = true;
          continue;
        case '+':
          spec.sign = '+';
          continue;
        case ' ':
          spec.sign = spec.sign == '+' ? '+' : ' ';
          continue;
        case '#':
          spec.alternate = true;
          continue;
        case '0':
          zero = true;
          continue;
        default:
          break;
      }
      break;
    }
    if (left) {
      spec.align = '<';
    } else if (zero) {
      spec.align = '=';
      spec.fill = '0';
    }
  }

  std::optional<size_t> count(FormatSpec& spec, const Value* keyed) {
    if (peek() == '*') {
      ++offset_;
      if (keyed != nullptr) throw Error("* wants int");
      const auto given = next_argument().to_index();
      if (!given) throw Error("* wants int");
      if (*given < 0) spec.align = '<';
      const size_t size = static_cast<size_t>(std::abs(std::max(*given, -kMaxCount)));
      return std::min(size, static_cast<size_t>(kMaxCount));
    }
    std::optional<size_t> size;
    for (; peek() >= '0' && peek() <= '9'; ++offset_) {
      size = size.value_or(0) * 10 + static_cast<size_t>(peek() - '0');
      if (*size > static_cast<size_t>(kMaxCount)) throw Error("width too big");
    }
    return size;
  }

  std::string convert(FormatSpec spec, char type, const Value& value) {
    if (type == 's' || type == 'r' || type == 'a') {
      unpad_zeros(spec);
      return format_text(budget_, spec, text_of(type, value));
    }
    if (type == 'c' && value.is_string() && value.as_string().length == 1) {
      unpad_zeros(spec);
      return format_text(budget_, spec, value.bytes());
    }
    if (value.is_undefined()) throw Error(value.as_undefined().message());
    if (type == 'd' || type == 'i' || type == 'u') return decimal(spec, type, value);
    if (type == 'x' || type == 'X' || type == 'o' || type == 'c') {
      if (!value.is_number() || value.is_real()) {
        throw Error(type == 'c' ? std::string("%c requires int or char")
                                : fmt::format("%{} format: an integer is required, not {}", type,
                                              value.type_name()));
      }
      spec.type = type;
      return with_minimum_digits(spec, value);
    }
    const auto number = value.to_double();
    if (!number) throw Error(fmt::format("must be real number, not {}", value.type_name()));
    spec.type = type;
    return format_real(budget_, spec, *number);
  }

  std::string text_of(char type, const Value& value) {
    if (type != 's') return to_repr(budget_, value);
    return escape_ ? escaped(budget_, value) : to_str(budget_, value);
  }

  std::string decimal(FormatSpec spec, char type, const Value& value) {
    if (!value.is_number()) {
      throw Error(
          fmt::format("%{} format: a real number is required, not {}", type, value.type_name()));
    }
    spec.type = 'd';
    if (!value.is_real()) return with_minimum_digits(spec, value);
    if (!std::isfinite(value.as_real())) {
      throw Error(std::isnan(value.as_real()) ? "cannot convert float NaN to integer"
                                              : "cannot convert float infinity to integer");
    }
    return with_minimum_digits(spec, Value::integer(BigInteger::from_double(value.as_real())));
  }

  // An integer's precision is its least number of digits.
  std::string with_minimum_digits(FormatSpec spec, const Value& value) {
    if (!spec.precision) return format_integer(budget_, spec, value);
    FormatSpec digits = spec;
    digits.width =
        *spec.precision + (to_big_integer(value).is_negative() || spec.sign != '-' ? 1 : 0);
    digits.align = '=';
    digits.fill = '0';
    digits.precision.reset();
    spec.precision.reset();
    return format_text(budget_, spec, format_integer(budget_, digits, value));
  }

  static void unpad_zeros(FormatSpec& spec) {
    if (spec.align == '=') spec.align = '>';
    spec.fill = ' ';
  }

  [[noreturn]] void fail_type(size_t offset) const {
    size_t end = offset;
    const char32_t c = next_code_point(format_, end);
    throw Error(fmt::format("unsupported format character '{}' (0x{:x}) at index {}",
                            format_.substr(offset, end - offset), static_cast<uint32_t>(c),
                            count_code_points(format_.substr(0, offset))));
  }

  static constexpr int64_t kMaxCount = 1'000'000'000;

  Budget& budget_;
  std::string_view format_;
  bool escape_;
  const Value& arguments_;
  TextBuilder out_;
  size_t offset_ = 0;
  size_t n_used_ = 0;
};

}  // namespace

Value format_printf(Budget& budget, const Value& format, const Value& arguments) {
  const String& text = format.as_string();
  return Value::string(PrintfFormatter(budget, text, arguments).run(), text.markup);
}

}  // namespace qround::jinja
