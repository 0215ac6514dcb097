// Writes what is only configuration anew: both configuration files and the index. Weights are taken
// as they are.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace qround::verify {

enum class Shards {
  linked,  // hard links, or symbolic ones where these are not possible
  copied,
};

// Makes `output`, which must be empty or absent, a checkpoint of the shards of `directory`:
//   - all shards that hold tensors of the network, whether the index names them or not, and an
//     index that lists what is in them
//   - config.json with a quantization_config that describes the tensors, and its companion
//   - every other file but those that describe another quantization, and the report
// Returns what was done, one line each. Throws Error when config.json describes no network, when a
// shard is damaged, two hold the same tensor, or `output` cannot be used; then `output` may be left
// in part, without an index.
std::vector<std::string> write_fixed(const std::filesystem::path& directory,
                                     const std::filesystem::path& output, Shards shards);

}  // namespace qround::verify
