// Reads one safetensors file (docs/formats/safetensors.md).
//
// Opening maps the file and checks its whole header against its size: afterwards every entry lies
// inside the file and holds exactly the bytes its dtype and shape ask for. Opening touches no page
// of tensor data, so a file of many gigabytes opens in the time its header takes to parse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "base/tensor_view.h"

namespace qround {

// Where a tensor lies.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape = {};
  uint64_t begin = 0;   // byte offsets from the start of the file, header included
  uint64_t end = 0;     // one past the last byte
  size_t file_idx = 0;  // which file of a Checkpoint; 0 in a file of its own

  uint64_t bytes() const { return end - begin; }

  friend bool operator==(const TensorEntry&, const TensorEntry&) = default;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> entries;                           // by offset
  std::vector<std::pair<std::string, std::string>> metadata;  // "__metadata__", in the file's order
  uint64_t data_begin = 0;  // offset of the first byte of tensor data
};

// Reads and checks the header of a file given as all of its bytes; of these only the header is
// touched. Throws Error naming `path` and, where one is to blame, the tensor:
//   - the header's length must lie inside the file and below 100 MB, the header must be a JSON
//   object,
//   - a known dtype, a shape of non-negative integers, dtype x shape = length of the data,
//   - data without gaps and overlaps that ends exactly where the file ends, names that stand once.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file_bytes,
                                           const std::filesystem::path& path);

// Movable; views stay valid as long as the object (or what it was moved into) lives. All members
// may be called from several threads.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);  // throws Error

  const std::filesystem::path& path() const { return mapping_.path(); }
  const std::vector<TensorEntry>& entries() const { return header_.entries; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const {
    return header_.metadata;
  }

  const TensorEntry* find(std::string_view name) const;  // nullptr: no such tensor
  // Throws Error when there is no such tensor, or when its data is not aligned to its dtype.
  TensorView view(std::string_view name) const;
  TensorView view(const TensorEntry& entry) const;  // an entry of this file

  // Hints: the tensor will be read soon; its pages are no longer needed by this process.
  void prefetch(const TensorEntry& entry) const { mapping_.prefetch(entry.begin, entry.bytes()); }
  void release(const TensorEntry& entry) const { mapping_.release(entry.begin, entry.bytes()); }

 private:
  MappedFile mapping_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_of_;  // keys point into header_.entries
};

}  // namespace qround
