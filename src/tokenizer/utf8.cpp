#include "tokenizer/utf8.h"

#include <cstring>

namespace qround {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080;

bool has_high_bit(const char* eight_bytes) {
  uint64_t word;
  std::memcpy(&word, eight_bytes, sizeof word);
  return (word & kHighBits) != 0;
}

}  // namespace

void append_utf8(uint32_t code, std::string& out) {
  const auto add = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6);
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

Utf8Unit first_utf8_unit(std::string_view bytes) {
  using Kind = Utf8Unit::Kind;
  const auto byte = [bytes](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Kind::character, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::invalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  unsigned low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::cut_off, i};
    if (byte(i) < low || byte(i) > high) return {Kind::invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::character, length};
}

bool is_utf8(std::string_view bytes) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    if (pos + 8 <= bytes.size() && !has_high_bit(bytes.data() + pos)) {
      pos += 8;
      continue;
    }
    const Utf8Unit unit = first_utf8_unit(bytes.substr(pos));
    if (unit.kind != Utf8Unit::Kind::character) return false;
    pos += unit.length;
  }
  return true;
}

std::string to_utf8_lossy(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Unit unit = first_utf8_unit(bytes);
    text += unit.kind == Utf8Unit::Kind::character ? bytes.substr(0, unit.length)
                                                   : kReplacementCharacter;
    bytes.remove_prefix(unit.length);
  }
  return text;
}

}  // namespace qround
