#include "verify/fix.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/report.h"
#include "checkpoint/quantization_config.h"
#include "model/quantization_naming.h"
#include "verify/subject.h"

namespace qround::verify {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kShardExtension = ".safetensors";
constexpr std::string_view kMember = "quantization_config";

// Settings that belong to other methods, or name modules in other ways.
const std::set<std::string, std::less<>> kDroppedKeys = {"backend",
                                                         "vllm_backend",
                                                         "sglang_backend",
                                                         "to_quant_block_names",
                                                         "modules_in_block_to_quantize",
                                                         "modules_to_not_convert"};

void check_output(const fs::path& directory, const fs::path& output) {
  const fs::path from = fs::weakly_canonical(directory), to = fs::weakly_canonical(output);
  const auto [end, unused] = std::mismatch(from.begin(), from.end(), to.begin(), to.end());
  if (end == from.end())
    throw Error("the output lies in the directory that is to be mended").file(output);
  std::error_code ignored;
  if (fs::exists(output, ignored) && (!fs::is_directory(output) || !fs::is_empty(output)))
    throw Error("the output is not empty").file(output).hint("name a directory that is not there");
  fs::create_directories(output);
}

bool is_of_the_network(const TensorTable& table, const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  const auto& fused = table.fused_tensors();
  return table.find_tensor(tensor) != nullptr ||
         (dot != std::string::npos && table.find_module(tensor.substr(0, dot)) != nullptr) ||
         std::any_of(fused.begin(), fused.end(), [&](auto& one) { return one.name == tensor; });
}

// Files with tensors of the network, by name.
std::vector<fs::path> find_shards(const fs::path& directory, const TensorTable& table) {
  std::vector<fs::path> shards;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != kShardExtension) continue;
    const SafetensorsFile file(entry.path());
    const auto& tensors = file.entries();
    if (std::any_of(tensors.begin(), tensors.end(), [&](const TensorEntry& tensor) {
          return is_of_the_network(table, tensor.name);
        })) {
      shards.push_back(entry.path());
    }
  }
  std::sort(shards.begin(), shards.end());
  if (shards.empty()) throw Error("no shard holds tensors of the network").file(directory);
  return shards;
}

// Another name in `output` for the file, or a copy of it.
void place(const fs::path& file, const fs::path& output, Shards how) {
  const fs::path to = output / file.filename();
  std::error_code error;
  const fs::path real = fs::canonical(file);
  if (how == Shards::linked) {
    fs::create_hard_link(real, to, error);
    if (error) fs::create_symlink(real, to, error);
  } else {
    fs::copy_file(real, to, error);
  }
  if (error) throw Error("cannot write a shard").file(to).actual(error.message());
}

Json index_of(const std::vector<fs::path>& shards) {
  JsonObject map;
  uint64_t total = 0;
  for (const fs::path& path : shards) {
    const SafetensorsFile file(path);
    for (const TensorEntry& entry : file.entries()) {
      if (map.find(entry.name) != nullptr)
        throw Error("tensor is in two shards").file(path).tensor(entry.name);
      map.set(entry.name, path.filename().string());
      total += entry.bytes();
    }
  }
  return Json::object(
      {{"metadata", Json::object({{"total_size", total}})}, {"weight_map", Json(std::move(map))}});
}

bool is_written_anew(const std::string& name) {
  return name == "config.json" || name == kReportFileName || name == kIndexFileName ||
         name == "quantize_config.json" || name == "hf_quant_config.json" ||
         name.ends_with("quantization_config.json");
}

void copy_others(const fs::path& directory, const fs::path& output) {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == kShardExtension || is_written_anew(name) ||
        name.starts_with('.')) {
      continue;
    }
    std::error_code error;
    fs::copy(entry.path(), output / name, fs::copy_options::recursive, error);
    if (error) throw Error("cannot copy a file").file(entry.path()).actual(error.message());
  }
}

// The size that the scales of the first int4 map have; nullopt: there is none.
std::optional<int64_t> stored_group_size(const Checkpoint& checkpoint,
                                         const std::vector<StoredForm>& forms) {
  for (const StoredForm& stored : forms) {
    if (stored.form != Form::int4) continue;
    const TensorEntry* scales = checkpoint.find(stored.parameter->module + ".scales");
    if (scales == nullptr || scales->shape.empty() || scales->shape[0] == 0) continue;
    return stored.parameter->shape[1] / scales->shape[0];
  }
  return std::nullopt;
}

// What the tensors say; from the old object only what no loader reads.
QuantizationConfig mended_config(const Checkpoint& checkpoint, const TensorTable& table) {
  QuantizationConfig config;
  const Json* old = checkpoint.config().find(kMember);
  if (old != nullptr && old->is_object()) {
    static const std::set<std::string, std::less<>> kWritten = {"quant_method",
                                                                "bits",
                                                                "group_size",
                                                                "sym",
                                                                "data_type",
                                                                "packing_format",
                                                                "desc_act",
                                                                "checkpoint_format",
                                                                "block_name_to_quantize",
                                                                "extra_config",
                                                                "dynamic"};
    for (const auto& [key, value] : old->as_object()) {
      if (!kWritten.contains(key) && !kDroppedKeys.contains(key))
        config.other.emplace_back(key, value);
    }
  }
  const std::vector<StoredForm> forms = stored_forms(checkpoint, table);
  if (const auto size = stored_group_size(checkpoint, forms)) config.group_size = *size;
  const auto fate_of = [&](const Parameter& p) {
    switch (forms[static_cast<size_t>(&p - table.parameters().data())].form) {
      case Form::absent:
        return Fate::absent;
      case Form::int4:
      case Form::several:
        return Fate::int4;
      case Form::dense:
      case Form::fused:
        return Fate::kept;
    }
    return Fate::absent;
  };
  name_modules(table, fate_of, config);
  return config;
}

}  // namespace

std::vector<std::string> write_fixed(const fs::path& directory, const fs::path& output,
                                     Shards how) {
  const Json source = Json::parse_file(directory / "config.json");
  const TensorTable table = TensorTable::of(parse_model_config(source, directory / "config.json"));
  const std::vector<fs::path> shards = find_shards(directory, table);
  const Json index = index_of(shards);
  check_output(directory, output);
  for (const fs::path& shard : shards) place(shard, output, how);
  copy_others(directory, output);
  write_file_atomically(output / "config.json", source.dump({.indent = 2}) + "\n");
  write_file_atomically(output / kIndexFileName, index.dump({.indent = 2}) + "\n");
  const QuantizationConfig config = mended_config(Checkpoint::open(output), table);
  write_config_files(output, source, config);
  return {fmt::format("{} {} shards", how == Shards::linked ? "linked" : "copied", shards.size()),
          fmt::format("wrote {} anew: {} tensors", kIndexFileName,
                      index.at("weight_map").as_object().size()),
          fmt::format("wrote config.json and quantization_config.json anew: {} entries",
                      config.extra_config.size())};
}

}  // namespace qround::verify
