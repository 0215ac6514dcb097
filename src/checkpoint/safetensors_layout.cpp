#include "checkpoint/safetensors_layout.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace qround {
namespace {

constexpr uint64_t kAlignment = 64;

// What lies first has the smallest rank: tensors that keep the 64-byte alignment of what follows
// them, then the others, those of large elements before those of small ones.
int layout_rank(const TensorSpec& tensor) {
  if (tensor.bytes() % kAlignment == 0) return 0;
  constexpr int kLargestElement = 8;
  return 1 + kLargestElement - static_cast<int>(dtype_bytes(tensor.dtype));
}

// The tensors in the order in which they lie in the file; offsets count from the first byte of
// data.
std::vector<TensorEntry> place(const std::vector<TensorSpec>& tensors) {
  std::vector<std::pair<int, size_t>> order;  // rank, index
  for (size_t i = 0; i < tensors.size(); ++i) order.emplace_back(layout_rank(tensors[i]), i);
  std::sort(order.begin(), order.end());
  std::vector<TensorEntry> entries;
  uint64_t position = 0;
  for (const auto& [rank, index] : order) {
    const TensorSpec& tensor = tensors[index];
    entries.push_back({.name = tensor.name,
                       .dtype = tensor.dtype,
                       .shape = tensor.shape,
                       .begin = position,
                       .end = position + tensor.bytes()});
    position += tensor.bytes();
  }
  return entries;
}

std::string header_json(const std::vector<TensorEntry>& entries,
                        const SafetensorsMetadata& metadata) {
  JsonObject header;
  if (!metadata.empty()) {
    JsonObject members;
    for (const auto& [key, value] : metadata) members.set(key, value);
    header.set("__metadata__", Json(std::move(members)));
  }
  for (const TensorEntry& entry : entries) {
    Json::Array shape(entry.shape.begin(), entry.shape.end());
    header.set(entry.name, Json::object({{"dtype", dtype_name(entry.dtype)},
                                         {"shape", Json(std::move(shape))},
                                         {"data_offsets", Json::array({entry.begin, entry.end})}}));
  }
  return Json(std::move(header)).dump();
}

std::span<const std::byte> data_of(const TensorView& view) { return {view.data, view.bytes()}; }

}  // namespace

void check_tensor_names(const std::vector<TensorSpec>& tensors) {
  std::unordered_set<std::string_view> names;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name.empty() || tensor.name == "__metadata__") {
      throw Error("a tensor cannot have this name").tensor(tensor.name).actual(tensor.name);
    }
    if (!names.insert(tensor.name).second) {
      throw Error("two tensors to write have the same name").tensor(tensor.name);
    }
  }
}

SafetensorsLayout lay_out_safetensors(const std::vector<TensorSpec>& tensors,
                                      const SafetensorsMetadata& metadata) {
  check_tensor_names(tensors);
  SafetensorsLayout layout;
  layout.entries = place(tensors);
  std::string json = header_json(layout.entries, metadata);
  uint64_t length = json.size();
  length += (kAlignment - (sizeof length + length) % kAlignment) % kAlignment;
  json.resize(length, ' ');
  layout.header.resize(sizeof length);
  std::memcpy(layout.header.data(), &length, sizeof length);
  layout.header += json;
  for (TensorEntry& entry : layout.entries) {
    entry.begin += layout.header.size();
    entry.end += layout.header.size();
  }
  layout.file_bytes = layout.entries.empty() ? layout.header.size() : layout.entries.back().end;
  return layout;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, TensorView>>& tensors,
                       const SafetensorsMetadata& metadata) {
  std::vector<TensorSpec> specs;
  std::unordered_map<std::string_view, const TensorView*> view_of;
  for (const auto& [name, view] : tensors) {
    specs.push_back({.name = name, .dtype = view.dtype, .shape = view.shape});
    view_of.emplace(name, &view);
  }
  const SafetensorsLayout layout = lay_out_safetensors(specs, metadata);
  std::filesystem::path temporary = path;
  temporary += ".partial";
  OutputFile file(temporary);
  file.append(layout.header);
  for (const TensorEntry& entry : layout.entries) file.append(data_of(*view_of.at(entry.name)));
  file.close();
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    throw system_error("rename a file to its final name", path);
  }
  sync_directory(path.parent_path());
}

}  // namespace qround
