#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/utf8.h"

namespace qround {
namespace {

constexpr size_t kAlphabetEnd = 0x144;

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr std::array<uint16_t, 256> make_code_of_byte() {
  std::array<uint16_t, 256> code_of{};
  uint16_t next = 0x100;
  for (uint16_t byte = 0; byte < 256; ++byte)
    code_of[byte] = stands_for_itself(byte) ? byte : next++;
  return code_of;
}

constexpr std::array<uint16_t, 256> kCodeOfByte = make_code_of_byte();

constexpr std::array<int16_t, kAlphabetEnd> make_byte_of_code() {
  std::array<int16_t, kAlphabetEnd> byte_of{};
  for (int16_t& byte : byte_of) byte = -1;
  for (int16_t byte = 0; byte < 256; ++byte) byte_of[kCodeOfByte[static_cast<size_t>(byte)]] = byte;
  return byte_of;
}

constexpr std::array<int16_t, kAlphabetEnd> kByteOfCode = make_byte_of_code();

}  // namespace

std::optional<std::string> bytes_in_alphabet(std::string_view token) {
  std::string bytes;
  for (size_t pos = 0; pos < token.size();) {
    const Utf8Char character = read_utf8(token.data() + pos);
    if (character.code >= kAlphabetEnd || kByteOfCode[character.code] < 0) return std::nullopt;
    bytes += static_cast<char>(kByteOfCode[character.code]);
    pos += character.length;
  }
  return bytes;
}

std::string bytes_of_token(std::string_view token) {
  std::optional<std::string> bytes = bytes_in_alphabet(token);
  return bytes ? *std::move(bytes) : std::string(token);
}

std::string alphabet_character(uint8_t byte) {
  std::string character;
  append_utf8(kCodeOfByte[byte], character);
  return character;
}

}  // namespace qround
