// The files of the checkpoint and its index. That the files exist and hold what the index promises
// was checked when the checkpoint was opened.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

namespace fs = std::filesystem;

bool is_listed(const Checkpoint& checkpoint, const fs::path& path) {
  return std::any_of(
      checkpoint.files().begin(), checkpoint.files().end(),
      [&](const SafetensorsFile& file) { return file.path().filename() == path.filename(); });
}

bool is_of_the_network(const Subject& subject, const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return subject.table.find_tensor(tensor) != nullptr ||
         (dot != std::string::npos && subject.table.find_module(tensor.substr(0, dot)) != nullptr);
}

// The first tensor of the network in a file that no reader will open; empty: none.
std::string stray_tensor(const Subject& subject, const fs::path& path) {
  try {
    const SafetensorsFile file(path);
    for (const TensorEntry& entry : file.entries()) {
      if (is_of_the_network(subject, entry.name)) return entry.name;
    }
  } catch (const Error&) {  // a damaged file that nobody reads
  }
  return "";
}

}  // namespace

void check_index(const Subject& subject, Findings& findings) {
  for (const std::string& name : subject.checkpoint.unindexed_tensors())
    findings.add({name, "the index does not list the tensor", "", ""});
  std::error_code ignored;
  const fs::path directory = subject.checkpoint.path();
  if (!fs::exists(directory / kIndexFileName, ignored)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    if (entry.path().extension() != ".safetensors" || is_listed(subject.checkpoint, entry.path()))
      continue;
    const std::string tensor = stray_tensor(subject, entry.path());
    if (!tensor.empty())
      findings.add({entry.path().filename().string(), "the index names no tensor of this shard",
                    tensor, "absent"});
  }
}

void check_total_size(const Subject& subject, Findings& findings) {
  const fs::path path = subject.checkpoint.path() / kIndexFileName;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  const Json index = Json::parse_file(path);
  const Json* metadata = index.find("metadata");
  const Json* total = metadata == nullptr ? nullptr : metadata->find("total_size");
  const auto expected = static_cast<double>(subject.checkpoint.total_bytes());
  if (total != nullptr && total->is_number() && total->as_double() == expected) return;
  findings.add({std::string(kIndexFileName), "total_size is wrong",
                fmt::format("{}", subject.checkpoint.total_bytes()),
                total == nullptr ? "absent" : total->dump()});
}

void check_shard_names(const Subject& subject, Findings& findings) {
  for (const SafetensorsFile& file : subject.checkpoint.files()) {
    const std::string name = file.path().filename().string();
    if (!name.starts_with("model"))
      findings.add({name, "some readers load only files named model*", "model*.safetensors", name});
  }
}

}  // namespace qround::verify
