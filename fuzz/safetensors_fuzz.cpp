// Whatever the bytes, the header parser ends with an Error or with entries that lie inside the
// file, follow one another without a gap, and have the size of their dtype and shape.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const qround::SafetensorsHeader& header, uint64_t file_size) {
  uint64_t position = header.data_begin;
  for (const qround::TensorEntry& entry : header.entries) {
    require(entry.begin == position && entry.end >= entry.begin && entry.end <= file_size);
    uint64_t bytes = qround::dtype_bytes(entry.dtype);
    for (const int64_t extent : entry.shape) {
      require(extent >= 0);
      bytes *= static_cast<uint64_t>(extent);
    }
    require(entry.bytes() == bytes);
    position = entry.end;
  }
  require(position == file_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  try {
    check(qround::parse_safetensors_header(std::as_bytes(bytes), "fuzz.safetensors"), size);
  } catch (const qround::Error& error) {
    require(error.file() == "fuzz.safetensors");
  }
  return 0;
}
