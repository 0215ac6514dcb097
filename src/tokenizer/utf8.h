// UTF-8: reading characters of text that is known to be valid, and making sense of bytes that may
// not be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qround {

struct Utf8Char {
  uint32_t code;
  uint32_t length;  // in bytes, 1 to 4
};

// The character that starts at `text`. The bytes must be valid UTF-8 and `text` a boundary in them.
inline Utf8Char read_utf8(const char* text) {
  const auto byte = [text](int i) { return uint32_t{static_cast<unsigned char>(text[i])}; };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

// `code` must be a Unicode scalar value.
void append_utf8(uint32_t code, std::string& out);

// How arbitrary bytes begin: with a character; with bytes that can start none (one replacement
// character stands for all `length` of them, the rule of the Unicode standard and of the
// reference); or with the start of a character that the end of the bytes cuts off.
struct Utf8Unit {
  enum class Kind { character, invalid, cut_off } kind;
  size_t length;
};
Utf8Unit first_utf8_unit(std::string_view bytes);  // `bytes` is not empty

bool is_utf8(std::string_view bytes);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The bytes with a replacement character for everything that is not UTF-8.
std::string to_utf8_lossy(std::string_view bytes);

}  // namespace qround
