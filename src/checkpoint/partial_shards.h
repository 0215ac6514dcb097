// Reads the shards that a ShardWriter has not published yet.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/tensor_view.h"
#include "checkpoint/shard_writer.h"

namespace qround {

class PartialShards {
 public:
  // Maps what there is of the planned shards. `plan` must outlive the object. Files may grow while
  // they are mapped; what they had when the object was made is seen.
  PartialShards(const std::filesystem::path& output, const ShardPlan& plan);

  // A planned tensor; nothing when its file is absent or ends before the tensor does. Whether its
  // bytes have been written the file does not tell.
  std::optional<TensorView> find(std::string_view name) const;

 private:
  struct Place {
    size_t shard_idx;
    const TensorEntry* entry;
  };

  std::vector<std::optional<MappedFile>> files_;  // by shard
  std::map<std::string_view, Place> place_of_;
};

}  // namespace qround
