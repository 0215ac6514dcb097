#include "tokenizer/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <memory>

#include "tokenizer/jinja_case_table.h"
#include "tokenizer/utf8.h"

namespace qround::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kSmallSigma = 0x3C3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kCapitalIWithDot = 0x130;

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

const SpecialCase* find_special_case(char32_t c) {
  const auto table = special_cases();
  const auto found = std::lower_bound(
      table.begin(), table.end(), c,
      [](const SpecialCase& entry, char32_t code_point) { return entry.code_point < code_point; });
  return found != table.end() && found->code_point == c ? &*found : nullptr;
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCase* special = find_special_case(c)) {
    out += special->upper;
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
  }
}

void append_title(std::string& out, char32_t c) {
  if (const SpecialCase* special = find_special_case(c)) {
    out += special->title;
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
  }
}

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

// Marks and modifiers, which the final-sigma rule looks through.
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019;
  }
}

// Whether the capital sigma at [begin, end) ends a word: a letter before it, none after.
bool is_final_sigma(std::string_view text, size_t begin, size_t end) {
  bool letter_before = false;
  while (begin > 0) {
    begin = previous_code_point(text, begin);
    size_t after = begin;
    const char32_t c = next_code_point(text, after);
    if (is_case_ignorable(c)) continue;
    letter_before = is_cased(c);
    break;
  }
  if (!letter_before) return false;
  while (end < text.size()) {
    const char32_t c = next_code_point(text, end);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

// The character at [begin, end) of `text` in lower case.
void append_lower(std::string& out, std::string_view text, size_t begin, size_t end, char32_t c) {
  if (c == kCapitalSigma) {
    append_utf8(is_final_sigma(text, begin, end) ? kFinalSigma : kSmallSigma, out);
  } else if (c == kCapitalIWithDot) {
    out += "i\xCC\x87";
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  }
}

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

}  // namespace

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

char32_t next_code_point(std::string_view text, size_t& offset) {
  const Utf8Char c = read_utf8(text.data() + offset);
  offset += c.length;
  return c.code;
}

size_t previous_code_point(std::string_view text, size_t offset) {
  do {
    --offset;
  } while (offset > 0 && (text[offset] & 0xC0) == 0x80);
  return offset;
}

size_t byte_offset(std::string_view text, size_t code_point_index) {
  size_t offset = 0;
  while (offset < text.size()) {
    if ((text[offset] & 0xC0) != 0x80 && code_point_index-- == 0) break;
    ++offset;
  }
  return offset;
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return false;
    default:
      return true;
  }
}

bool is_alphabetic(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {
  if (is_decimal(c)) return true;
  struct Range {
    char32_t first, last;
  };
  constexpr Range kOtherDigits[] = {
      {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
      {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
      {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
      {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
      {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  return std::any_of(std::begin(kOtherDigits), std::end(kOtherDigits),
                     [c](Range range) { return c >= range.first && c <= range.last; });
}

bool is_numeric(char32_t c) {
  const auto kind = category(c);
  if (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) return true;
  // The everyday ideographs of the CJK block that stand for numbers.
  constexpr std::u32string_view kIdeographs =
      U"一七万三九二五亿什仟仨伍佰億兆兩八六十千卅四壹拾柒玖百肆萬貳贰零陸陆叁參";
  return kIdeographs.find(c) != std::u32string_view::npos;
}

bool is_upper(char32_t c) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (category(c) == UTF8PROC_CATEGORY_LT) return false;
  return category(c) == UTF8PROC_CATEGORY_LU || utf8proc_tolower(code) != code;
}

bool is_lower(char32_t c) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (category(c) == UTF8PROC_CATEGORY_LT) return false;
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA ||
         (utf8proc_toupper(code) != code && category(c) != UTF8PROC_CATEGORY_LU);
}

bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

bool is_identifier_start(char32_t c) {
  return c == '_' || is_alphabetic(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool is_identifier_part(char32_t c) {
  if (is_identifier_start(c)) return true;
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_MN ||
         kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_PC || c == 0xB7;
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (is_ascii(text)) {
    for (char c : text) out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return out;
  }
  for (size_t offset = 0; offset < text.size();) append_upper(out, next_code_point(text, offset));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (is_ascii(text)) {
    for (char c : text) out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
  }
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t c = next_code_point(text, offset);
    append_lower(out, text, begin, offset, c);
  }
  return out;
}

std::string to_case_folded(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &folded, UTF8PROC_CASEFOLD);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(folded, &std::free);
  if (length < 0) return to_lower(text);
  return std::string(reinterpret_cast<const char*>(folded), static_cast<size_t>(length));
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t c = next_code_point(text, offset);
    if (is_upper(c)) {
      append_lower(out, text, begin, offset, c);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_utf8(c, out);
    }
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::string out;
  size_t offset = 0;
  append_title(out, next_code_point(text, offset));
  while (offset < text.size()) {
    const size_t begin = offset;
    const char32_t c = next_code_point(text, offset);
    append_lower(out, text, begin, offset, c);
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  bool inside_word = false;
  for (size_t offset = 0; offset < text.size();) {
    const size_t begin = offset;
    const char32_t c = next_code_point(text, offset);
    if (inside_word) {
      append_lower(out, text, begin, offset, c);
    } else {
      append_title(out, c);
    }
    inside_word = is_cased(c);
  }
  return out;
}

}  // namespace qround::jinja
