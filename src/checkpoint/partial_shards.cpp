#include "checkpoint/partial_shards.h"

namespace qround {

PartialShards::PartialShards(const std::filesystem::path& output, const ShardPlan& plan) {
  for (const PlannedShard& shard : plan.shards) {
    const std::filesystem::path path = output / ShardWriter::kPartialFolder / shard.file_name;
    std::error_code ignored;
    files_.emplace_back();
    if (std::filesystem::exists(path, ignored)) files_.back().emplace(path);
    for (const TensorEntry& entry : shard.layout.entries)
      place_of_.emplace(entry.name, Place{files_.size() - 1, &entry});
  }
}

std::optional<TensorView> PartialShards::find(std::string_view name) const {
  const auto found = place_of_.find(name);
  if (found == place_of_.end()) return std::nullopt;
  const auto [shard_idx, entry] = found->second;
  const std::optional<MappedFile>& file = files_[shard_idx];
  if (!file || file->size() < entry->end) return std::nullopt;
  return TensorView{entry->dtype, entry->shape, file->data() + entry->begin};
}

}  // namespace qround
