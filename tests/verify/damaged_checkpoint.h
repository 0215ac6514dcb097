// A good int4 checkpoint in a temporary directory, and ways to damage it.
//
// The tensors of its only shard are held in memory; a damage changes them, the configuration or the
// files, and save() writes what changed.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/half.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gptq_int4.h"
#include "checkpoint/safetensors_layout.h"
#include "tests/quant/job_fixture.h"
#include "verify/verify.h"

namespace qround::verify {

namespace fs = std::filesystem;

struct StoredTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::byte> bytes;

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(bytes.data());
  }
  TensorView view() const { return {dtype, shape, bytes.data()}; }
};

inline StoredTensor copy_of(const TensorView& view) {
  return {view.dtype, view.shape, {view.data, view.data + view.bytes()}};
}

class DamagedCheckpoint {
 public:
  static constexpr const char* kShard = "model-00001-of-00001.safetensors";

  // Copies a checkpoint that was made by a job.
  DamagedCheckpoint(const fs::path& good, fs::path directory) : directory_(std::move(directory)) {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    for (const fs::directory_entry& entry : fs::directory_iterator(good)) {
      const fs::path to = directory_ / entry.path().filename();
      if (entry.path().filename() == kShard) {
        fs::create_hard_link(entry.path(), to);
      } else {
        fs::copy_file(entry.path(), to);
      }
    }
    const SafetensorsFile file(good / kShard);
    for (const TensorEntry& entry : file.entries()) tensors[entry.name] = copy_of(file.view(entry));
    config = Json::parse_file(good / "config.json");
  }

  const fs::path& directory() const { return directory_; }
  fs::path operator/(const char* name) const { return directory_ / name; }

  std::map<std::string, StoredTensor> tensors;
  Json config;

  Json& quantization() { return *config.as_object().find("quantization_config"); }
  JsonObject& overrides() { return quantization().as_object().find("extra_config")->as_object(); }
  Json& text_config() { return *config.as_object().find("text_config"); }

  // Writes configuration and companion, equal to each other.
  void save_config() {
    put_file("config.json", config.dump());
    if (const Json* object = config.find("quantization_config"))
      put_file("quantization_config.json", object->dump());
  }

  // Writes the shard and an index that fits.
  void save_tensors() {
    std::vector<std::pair<std::string, TensorView>> views;
    JsonObject map;
    uint64_t total = 0;
    for (const auto& [name, tensor] : tensors) {
      views.emplace_back(name, tensor.view());
      map.set(name, kShard);
      total += tensor.bytes.size();
    }
    put_shard(kShard, views);
    put_file(kIndexFileName, Json::object({{"metadata", Json::object({{"total_size", total}})},
                                           {"weight_map", Json(std::move(map))}})
                                 .dump());
  }

  // The shard as a file of its own, which may be damaged in place.
  fs::path own_shard() const {
    const fs::path shard = directory_ / kShard, copy = directory_ / "copy";
    fs::copy_file(shard, copy);
    fs::rename(copy, shard);
    return shard;
  }

  // Plain writes: a test needs nothing to survive a crash.
  void put_file(std::string_view name, std::string_view text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }
  void put_shard(std::string_view name,
                 const std::vector<std::pair<std::string, TensorView>>& views) const {
    std::vector<TensorSpec> specs;
    std::map<std::string, TensorView> view_of(views.begin(), views.end());
    for (const auto& [tensor, view] : views) specs.push_back({tensor, view.dtype, view.shape});
    const SafetensorsLayout layout = lay_out_safetensors(specs, {});
    fs::remove(directory_ / name);  // it may be a link
    std::ofstream file(directory_ / name, std::ios::binary);
    file << layout.header;
    for (const TensorEntry& entry : layout.entries) {
      const TensorView& view = view_of.at(entry.name);
      file.write(reinterpret_cast<const char*>(view.data),
                 static_cast<std::streamsize>(view.bytes()));
    }
  }

  void change_index(const std::function<void(Json&)>& change) const {
    Json index = Json::parse_file(directory_ / kIndexFileName);
    change(index);
    put_file(kIndexFileName, index.dump());
  }

  void erase_tensors(const std::string& beginning) {
    std::erase_if(tensors, [&](const auto& item) { return item.first.starts_with(beginning); });
  }

  // Puts int4 tensors in place of a dense weight [N, K], rounded as auto-round does.
  void make_int4(const std::string& module, const StoredTensor& dense, int32_t zeros) {
    const Int4Shape shape{dense.shape[0], dense.shape[1], std::min<int64_t>(128, dense.shape[1])};
    std::vector<float> weights = to_f32(dense.view());
    std::vector<uint8_t> codes(weights.size());
    std::vector<uint16_t> scales;
    for (size_t first = 0; first < weights.size(); first += size_t(shape.group_size)) {
      float extreme = 0;
      for (size_t i = first; i < first + size_t(shape.group_size); ++i) {
        if (std::fabs(weights[i]) > std::fabs(extreme)) extreme = weights[i];
      }
      scales.push_back(f32_to_f16(std::fabs(extreme) < 1e-4f ? 1e-4f : -extreme / 8));
      for (size_t i = first; i < first + size_t(shape.group_size); ++i) {
        const float steps = std::round(weights[i] / f16_to_f32(scales.back()));
        codes[i] = static_cast<uint8_t>(std::clamp(steps + 8, 0.0f, 15.0f));
      }
    }
    put(module + ".qweight", DType::i32, shape.qweight());
    put(module + ".scales", DType::f16, shape.scales());
    put(module + ".qzeros", DType::i32, shape.qzeros());
    const RowRange rows{0, shape.out};
    pack_codes(shape, rows, codes.data(), tensors[module + ".qweight"].as<int32_t>());
    pack_scales(shape, rows, scales.data(), tensors[module + ".scales"].as<uint16_t>());
    set_zeros(module, zeros);
    tensors.erase(module + ".weight");
  }
  void make_int4(const std::string& module, int32_t zeros = kSymmetricZeros) {
    make_int4(module, tensors.at(module + ".weight"), zeros);
  }

  // Puts a dense weight in place of int4 tensors.
  void make_dense(const std::string& module, const TensorView& weight) {
    for (const char* suffix : {".qweight", ".scales", ".qzeros"}) tensors.erase(module + suffix);
    tensors[module + ".weight"] = copy_of(weight);
  }

  void set_zeros(const std::string& module, int32_t word) {
    StoredTensor& zeros = tensors.at(module + ".qzeros");
    for (int64_t i = 0; i < zeros.view().count(); ++i) zeros.as<int32_t>()[i] = word;
  }

  // Changes every word of qweight: change(word) gives the new one.
  void change_codes(const std::string& module, const std::function<uint32_t(uint32_t)>& change) {
    StoredTensor& codes = tensors.at(module + ".qweight");
    for (int64_t i = 0; i < codes.view().count(); ++i)
      codes.as<uint32_t>()[i] = change(codes.as<uint32_t>()[i]);
  }

  void swap_modules(const std::string& a, const std::string& b) {
    for (const char* suffix : {".qweight", ".scales", ".qzeros"})
      std::swap(tensors.at(a + suffix), tensors.at(b + suffix));
  }

 private:
  void put(const std::string& name, DType dtype, const Shape& shape) {
    StoredTensor tensor{dtype, shape, {}};
    tensor.bytes.resize(tensor.view().bytes());
    tensors[name] = std::move(tensor);
  }

  fs::path directory_;
};

inline std::set<std::string> broken_rules(const Outcome& outcome) {
  std::set<std::string> ids;
  for (const RuleOutcome& rule : outcome.rules) {
    if (rule.findings.count() > 0) ids.insert(rule.rule);
  }
  return ids;
}

inline std::string all_findings(const Outcome& outcome) {
  std::string text;
  for (const RuleOutcome& rule : outcome.rules) {
    for (const Finding& finding : rule.findings.first())
      text += rule.rule + ": " + finding.tensor + ": " + finding.message + " (" + finding.actual +
              ")\n";
  }
  return text;
}

}  // namespace qround::verify
