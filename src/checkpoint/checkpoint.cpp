#include "checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <system_error>

#include "base/error.h"
#include "base/problem_list.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFileName = "model.safetensors";
constexpr std::string_view kDownloadAgain = "the checkpoint is incomplete; download it again";

// What the index says: tensor -> file name. std::map gives every report one order.
struct ShardMap {
  std::map<std::string, std::string, std::less<>> file_of;  // empty without an index
  std::vector<std::string> file_names;                      // sorted
  bool has_index = false;
};

// Not there and not allowed to look are the same here; opening a file tells them apart.
bool file_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// File names come from a foreign file and must not lead out of the directory.
void check_file_name(const std::string& name, const fs::path& index_path) {
  const fs::path path(name);
  const bool climbs =
      std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  if (name.empty() || path.is_absolute() || climbs) {
    throw Error("the index names a file outside of its directory").file(index_path).actual(name);
  }
}

ShardMap read_index(const fs::path& index_path) {
  ShardMap shards;
  shards.has_index = true;
  try {
    const Json index = Json::parse_unique_keys(read_file(index_path));
    for (const auto& [tensor, file] : index.at("weight_map").as_object()) {
      shards.file_of.emplace(tensor, file.as_string());
      shards.file_names.push_back(file.as_string());
    }
  } catch (Error& error) {
    throw error.file(index_path);
  }
  std::sort(shards.file_names.begin(), shards.file_names.end());
  shards.file_names.erase(std::unique(shards.file_names.begin(), shards.file_names.end()),
                          shards.file_names.end());
  for (const std::string& name : shards.file_names) check_file_name(name, index_path);
  return shards;
}

ShardMap find_shards(const fs::path& directory) {
  const fs::path index_path = directory / kIndexFileName;
  if (file_exists(index_path)) return read_index(index_path);
  if (!file_exists(directory / kSingleFileName)) {
    throw Error("the directory holds no safetensors checkpoint")
        .file(directory)
        .expected(fmt::format("{} or {}", kIndexFileName, kSingleFileName))
        .hint("give the directory of config.json; if shards are there, download the index again");
  }
  ShardMap shards;
  shards.file_names.emplace_back(kSingleFileName);
  return shards;
}

Json read_config(const fs::path& directory) {
  const fs::path path = directory / "config.json";
  if (!file_exists(path)) {
    throw Error("config.json is missing").file(directory).hint(kDownloadAgain);
  }
  Json config = Json::parse_file(path);
  if (!config.is_object()) {
    throw Error("config.json is no object").file(path).actual(config.type_name());
  }
  return config;
}

// Whether `path` holds weights in any format, or the map of a sharded checkpoint.
bool is_weight_file(const fs::path& path) {
  static constexpr std::array<std::string_view, 9> kExtensions = {
      ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"};
  const std::string extension = path.extension().string();
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end() ||
         path.filename().string().ends_with(".index.json");
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// Compares the index with the tensors found. `opened` holds the names of the files of the
// checkpoint; tensors of files that did not open are not reported once more. Returns the tensors
// not in the index.
std::vector<std::string> compare_with_index(const ShardMap& shards, const Checkpoint& checkpoint,
                                            const std::vector<std::string>& opened,
                                            ProblemList& problems) {
  for (const auto& [tensor, file] : shards.file_of) {
    const auto position = std::find(opened.begin(), opened.end(), file);
    if (position == opened.end()) continue;
    const TensorEntry* entry = checkpoint.find(tensor);
    const auto file_idx = static_cast<size_t>(position - opened.begin());
    if (entry != nullptr && entry->file_idx == file_idx) continue;
    Error problem("tensor is not in the shard that the index names");
    problem.file(checkpoint.files()[file_idx].path()).tensor(tensor).hint(kDownloadAgain);
    if (entry != nullptr) problem.actual("it is in " + opened[entry->file_idx]);
    problems.add(std::move(problem));
  }
  std::vector<std::string> unindexed;
  for (const TensorEntry& entry : checkpoint.tensors()) {
    if (!shards.file_of.contains(entry.name)) unindexed.push_back(entry.name);
  }
  return unindexed;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) throw Error("no such directory").file(directory);
  Checkpoint checkpoint;
  checkpoint.path_ = directory;
  ProblemList problems;
  problems.attempt([&] { checkpoint.config_ = read_config(directory); });
  ShardMap shards;
  problems.attempt([&] { shards = find_shards(directory); });

  std::vector<std::string> opened;
  for (const std::string& name : shards.file_names) {
    problems.attempt([&] {
      const fs::path path = directory / name;
      if (!file_exists(path)) throw Error("shard is missing").file(path).hint(kDownloadAgain);
      checkpoint.files_.emplace_back(path);
      opened.push_back(name);
    });
  }
  checkpoint.collect_tensors(problems);
  if (shards.has_index) {
    checkpoint.unindexed_ = compare_with_index(shards, checkpoint, opened, problems);
  }
  problems.throw_if_any("the checkpoint cannot be used");
  return checkpoint;
}

void Checkpoint::collect_tensors(ProblemList& problems) {
  size_t n_tensors = 0;
  for (const SafetensorsFile& file : files_) n_tensors += file.entries().size();
  tensors_.reserve(n_tensors);  // the keys of index_of_ point into it
  for (size_t file_idx = 0; file_idx < files_.size(); ++file_idx) {
    for (const TensorEntry& entry : files_[file_idx].entries()) {
      if (const TensorEntry* first = find(entry.name)) {
        problems.add(Error("tensor is in two shards")
                         .file(files_[file_idx].path())
                         .tensor(entry.name)
                         .actual("also in " + files_[first->file_idx].path().filename().string()));
        continue;
      }
      tensors_.push_back(entry);
      tensors_.back().file_idx = file_idx;
      index_of_.emplace(tensors_.back().name, tensors_.size() - 1);
      total_bytes_ += entry.bytes();
    }
  }
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
  const auto found = index_of_.find(name);
  return found == index_of_.end() ? nullptr : &tensors_[found->second];
}

const TensorEntry& Checkpoint::at(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) throw Error("the checkpoint has no such tensor").file(path_).tensor(name);
  return *entry;
}

TensorView Checkpoint::view(std::string_view name) const { return view(at(name)); }

TensorView Checkpoint::view(const TensorEntry& entry) const {
  return files_[entry.file_idx].view(entry);
}

void Checkpoint::prefetch(const TensorEntry& entry) const {
  files_[entry.file_idx].prefetch(entry);
}

void Checkpoint::release(const TensorEntry& entry) const { files_[entry.file_idx].release(entry); }

std::vector<fs::path> Checkpoint::other_files() const {
  std::vector<fs::path> found;
  try {
    for (fs::recursive_directory_iterator entry(path_), end; entry != end; ++entry) {
      if (entry->is_directory()) {  // a link to one as well, but links are not entered
        if (is_hidden(entry->path())) entry.disable_recursion_pending();
        continue;
      }
      // A dangling link is kept: copying it reports the file by name.
      if (!entry->is_symlink() && !entry->is_regular_file()) continue;
      if (!is_weight_file(entry->path())) found.push_back(entry->path().lexically_relative(path_));
    }
  } catch (const fs::filesystem_error& error) {
    throw Error("cannot list a directory").file(error.path1()).actual(error.code().message());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace qround
