// Where tensors lie in a safetensors file that is about to be written, and its header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/tensor_view.h"
#include "checkpoint/safetensors.h"

namespace qround {

// A tensor that will be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape = {};

  uint64_t bytes() const {
    return static_cast<uint64_t>(element_count(shape)) * dtype_bytes(dtype);
  }
};

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

// Throws Error when a name stands twice or is none.
void check_tensor_names(const std::vector<TensorSpec>& tensors);

struct SafetensorsLayout {
  std::string header;                // the file's first bytes: length, JSON, padding
  std::vector<TensorEntry> entries;  // by offset, which counts from the start of the file
  uint64_t file_bytes = 0;
};

// Lays out a file. The header is padded with spaces so that data starts on a multiple of 64. The
// format allows no gaps between tensors, so tensors whose size is a multiple of 64 come first, in
// the order given and each on a multiple of 64; the others follow by falling element size, each
// aligned to its own. Throws Error when a name stands twice or is none.
SafetensorsLayout lay_out_safetensors(const std::vector<TensorSpec>& tensors,
                                      const SafetensorsMetadata& metadata);

// Writes a whole file, all or nothing: a kill leaves no file or all of it. Views must outlive the
// call.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, TensorView>>& tensors,
                       const SafetensorsMetadata& metadata = {});

}  // namespace qround
