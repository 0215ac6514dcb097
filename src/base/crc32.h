// CRC-32 (IEEE 802.3, as zlib and gzip use it): tells torn and damaged records from whole ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace qround {

// Of the bytes whose checksum is `before`, followed by `bytes`.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t before = 0);
uint32_t crc32(std::string_view text, uint32_t before = 0);

}  // namespace qround
