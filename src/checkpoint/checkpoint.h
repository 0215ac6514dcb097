// A Hugging Face directory as one table of tensors.
//
// The weights are the files that model.safetensors.index.json names (side files such as
// model_extra_tensors.safetensors among them), or model.safetensors alone where there is no index.
// Of the index only the map from tensor to file is used: its total_size is often absent or wrong.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace qround {

class ProblemList;

inline constexpr std::string_view kIndexFileName = "model.safetensors.index.json";

// Movable. Views stay valid as long as the object (or what it was moved into) lives. All const
// members may be called from several threads.
class Checkpoint {
 public:
  // Maps every shard and checks every header; no page of tensor data is touched. Throws one Error
  // that names up to ten problems: missing and damaged files, tensors the index promises but no
  // shard holds or another one does, tensors in two shards, config.json missing or unreadable.
  static Checkpoint open(const std::filesystem::path& directory);

  const std::filesystem::path& path() const { return path_; }
  const Json& config() const { return config_; }  // config.json, an object

  // All tensors, by file (in the order of names), then by offset.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  const TensorEntry* find(std::string_view name) const;  // nullptr: no such tensor
  const TensorEntry& at(std::string_view name) const;    // throws Error naming the tensor
  TensorView view(std::string_view name) const;          // throws Error naming the tensor
  TensorView view(const TensorEntry& entry) const;       // an entry of tensors()
  void prefetch(const TensorEntry& entry) const;         // hint: will be read soon
  void release(const TensorEntry& entry) const;          // hint: no longer needed by this process

  const std::vector<SafetensorsFile>& files() const { return files_; }  // by name
  uint64_t total_bytes() const { return total_bytes_; }                 // of tensor data

  // Tensors that lie in a shard although the index does not mention them. They are in the table.
  const std::vector<std::string>& unindexed_tensors() const { return unindexed_; }

  // Every file of the directory that holds no weights, as sorted paths relative to it:
  // configuration, tokenizer, templates, licence. Symbolic links to files count as files (the hub's
  // cache consists of them); hidden folders and links to folders are not entered.
  std::vector<std::filesystem::path> other_files() const;

 private:
  Checkpoint() = default;
  void collect_tensors(ProblemList& problems);

  std::filesystem::path path_;
  Json config_;
  std::vector<SafetensorsFile> files_;
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string_view, size_t> index_of_;  // keys point into tensors_
  std::vector<std::string> unindexed_;
  uint64_t total_bytes_ = 0;
};

}  // namespace qround
