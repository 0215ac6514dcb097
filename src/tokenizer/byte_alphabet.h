// The byte alphabet of byte-level BPE: tokenizer.json writes every byte of a token as one printable
// character, printable Latin-1 bytes as themselves and the 68 others as U+0100 to U+0143 in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qround {

// The bytes a token stands for. A token with any character outside the alphabet (an added token
// with a space in it) stands for its own UTF-8, as in the reference. `token` must be valid UTF-8.
std::string bytes_of_token(std::string_view token);

// The same, but nullopt where a character is outside the alphabet.
std::optional<std::string> bytes_in_alphabet(std::string_view token);

// The character that stands for `byte`, as UTF-8.
std::string alphabet_character(uint8_t byte);

}  // namespace qround
