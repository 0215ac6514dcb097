// Data sets that Hugging Face's tools downloaded before, found by name.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace qround::quant {

// Where those tools keep downloads: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub, the first that the environment gives; empty without a home directory.
std::filesystem::path huggingface_cache();

// The text files of data set `name` ("NeelNanda/pile-10k") in the revision that its main branch had
// when it was downloaded: jsonl files, or else json, or else txt; of these the ones with "train" in
// their path if there are any; sorted. Empty when the cache does not have the data set. Throws
// Error when it has it in no form that is read.
std::vector<std::filesystem::path> cached_dataset(const std::filesystem::path& cache,
                                                  std::string_view name);

}  // namespace qround::quant
