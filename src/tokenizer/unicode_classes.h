// One byte of facts per code point, for loops that look at every character of a text.
#pragma once

#include <cstdint>

namespace qround {

inline constexpr uint8_t kLetter = 1;      // \p{L}
inline constexpr uint8_t kMark = 2;        // \p{M}
inline constexpr uint8_t kNumber = 4;      // \p{N}
inline constexpr uint8_t kSpace = 8;       // \s
inline constexpr uint8_t kNfcActive = 16;  // NFC changes, reorders, or joins it to what precedes it

// A table of 0x110000 entries, indexed by code point; built on first use, valid for ever.
const uint8_t* unicode_classes();

}  // namespace qround
