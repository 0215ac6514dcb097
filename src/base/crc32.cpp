#include "base/crc32.h"

#include <zlib.h>

namespace qround {

uint32_t crc32(std::span<const std::byte> bytes, uint32_t before) {
  if (bytes.empty()) return before;  // zlib takes a null pointer for a wish to start over
  return static_cast<uint32_t>(
      ::crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t crc32(std::string_view text, uint32_t before) {
  return crc32(std::as_bytes(std::span(text.data(), text.size())), before);
}

}  // namespace qround
