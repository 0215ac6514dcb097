// Writes a checkpoint of many shards as a stream, each byte once.
//
// Which tensors a checkpoint will hold is known before the first one is computed. So they are
// planned first: the plan fixes every file name (the number of shards is part of it), every header
// and every offset, and says how much disk it takes. The writer then puts tensors where the plan
// has them, in any order; memory use does not depend on the size of shards or tensors.
//
//   OUTPUT/.partial/model-00001-of-00003.safetensors   while tensors arrive; synced when complete
//   OUTPUT/model-00001-of-00003.safetensors            finish() renames complete shards,
//   OUTPUT/model.safetensors.index.json                then writes the index: without it no reader
//                                                      takes the directory for a checkpoint
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/tensor_view.h"
#include "checkpoint/safetensors_layout.h"

namespace qround {

struct PlannedShard {
  std::string file_name;  // "model-00001-of-00003.safetensors"
  SafetensorsLayout layout;
};

struct ShardPlan {
  std::vector<PlannedShard> shards;
  uint64_t tensor_bytes = 0;  // the index's total_size
  uint64_t file_bytes = 0;    // headers included, the index not

  Json index() const;  // the contents of model.safetensors.index.json
};

struct ShardOptions {
  uint64_t max_shard_bytes = uint64_t{4}
                             << 30;  // of tensor data; a larger tensor gets a shard of its own
  SafetensorsMetadata metadata = {{"format", "pt"}};
};

// Fills shards in the order given. Throws Error when a name stands twice or there is no tensor.
ShardPlan plan_shards(const std::vector<TensorSpec>& tensors, const ShardOptions& options = {});

// How far a shard is.
struct ShardState {
  std::vector<uint64_t> written_bytes;  // of each tensor of the planned layout, in its order
  size_t n_complete = 0;                // tensors of which all bytes are written
  bool finished = false;                // all of them; the file is synced and closed
};

// Not thread-safe. Throws Error of kind `resource` when the disk is full. Unless finish() returned,
// the directory does not look like a checkpoint and .partial may be left in it.
class ShardWriter {
 public:
  static constexpr std::string_view kPartialFolder = ".partial";

  enum class Start {
    empty,     // what a killed run left is removed
    continued  // it stays, shards that it had published already included: adopt() what is whole
  };

  // Creates `output` and OUTPUT/.partial. Throws Error when a checkpoint's index is there already,
  // or when nothing can be created.
  ShardWriter(std::filesystem::path output, ShardPlan plan, Start start = Start::empty);

  // Takes a tensor, which an earlier run with the same plan wrote whole and synced, for written.
  // The caller has seen its bytes (PartialShards).
  void adopt(std::string_view name);

  // The whole tensor. Throws Error when dtype or shape are not the planned ones.
  void write(std::string_view name, const TensorView& tensor);
  // The next bytes of a tensor, from its first to its last; other tensors may be written in
  // between.
  void append(std::string_view name, std::span<const std::byte> bytes);

  // Makes durable what was written so far.
  void sync();
  // Publishes the checkpoint; the last step of all. Every other file of the output (config.json,
  // ...) must be written before. Throws Error naming tensors that are not complete.
  void finish();

  const ShardPlan& plan() const { return plan_; }
  const std::vector<ShardState>& states() const { return states_; }  // parallel to plan().shards
  uint64_t written_bytes() const { return written_bytes_; }          // of plan().tensor_bytes

 private:
  struct Position {
    size_t shard_idx;
    size_t tensor_idx;
  };

  Position position_of(std::string_view name) const;
  void take_back_published();
  OutputFile& open_shard(size_t shard_idx);
  void close_shard(size_t shard_idx);
  void check_complete() const;

  std::filesystem::path output_;
  std::filesystem::path partial_;
  Start start_;
  ShardPlan plan_;
  std::unordered_map<std::string_view, Position> position_of_;  // keys point into plan_
  std::vector<ShardState> states_;
  std::vector<std::optional<OutputFile>> files_;  // open ones, by shard
  uint64_t written_bytes_ = 0;
};

}  // namespace qround
