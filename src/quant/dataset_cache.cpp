#include "quant/dataset_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace qround::quant {
namespace {
namespace fs = std::filesystem;

fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

// "datasets--NeelNanda--pile-10k"
std::string folder_name(std::string_view name) {
  std::string folder = "datasets--";
  for (const char c : name) folder += c == '/' ? std::string("--") : std::string(1, c);
  return folder;
}

// The snapshot that main names; the last by name where there is no such reference.
fs::path snapshot_of(const fs::path& folder) {
  std::error_code ignored;
  if (fs::is_regular_file(folder / "refs/main", ignored)) {
    std::string revision = read_file(folder / "refs/main");
    revision.erase(revision.find_last_not_of(" \r\n") + 1);
    if (fs::is_directory(folder / "snapshots" / revision, ignored))
      return folder / "snapshots" / revision;
  }
  fs::path last;
  for (const auto& entry : fs::directory_iterator(folder / "snapshots", ignored))
    last = std::max(last, entry.path());
  return last;
}

bool describes_the_set(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.starts_with("dataset_info") || name.starts_with(".");
}

std::vector<fs::path> files_of_kind(const std::vector<fs::path>& files, std::string_view kind) {
  std::vector<fs::path> found, train;
  for (const fs::path& file : files) {
    if (file.extension() != kind || describes_the_set(file)) continue;
    found.push_back(file);
    if (file.filename().string().find("train") != std::string::npos ||
        file.parent_path().filename() == "train")
      train.push_back(file);
  }
  return train.empty() ? found : train;
}

}  // namespace

fs::path huggingface_cache() {
  if (const fs::path hub = from_environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const fs::path home = from_environment("HF_HOME"); !home.empty()) return home / "hub";
  if (const fs::path cache = from_environment("XDG_CACHE_HOME"); !cache.empty())
    return cache / "huggingface/hub";
  const fs::path home = from_environment("HOME");
  return home.empty() ? home : home / ".cache/huggingface/hub";
}

std::vector<fs::path> cached_dataset(const fs::path& cache, std::string_view name) {
  const fs::path folder = cache / folder_name(name);
  std::error_code ignored;
  if (cache.empty() || !fs::is_directory(folder, ignored)) return {};
  const fs::path snapshot = snapshot_of(folder);
  std::vector<fs::path> files;
  if (!snapshot.empty()) {
    for (const auto& entry : fs::recursive_directory_iterator(snapshot, ignored)) {
      if (entry.is_regular_file(ignored)) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const char* kind : {".jsonl", ".json", ".txt"}) {
    std::vector<fs::path> found = files_of_kind(files, kind);
    if (!found.empty()) return found;
  }
  std::erase_if(files, describes_the_set);
  throw Error("the downloaded data set holds no jsonl, json or txt file")
      .file(snapshot.empty() ? folder : snapshot)
      .actual(files.empty() ? "no files"
                            : fmt::format("{} files, such as {}", files.size(),
                                          files.front().filename().string()))
      .hint("write it as jsonl with a \"text\" member per line and name that file with --data");
}

}  // namespace qround::quant
