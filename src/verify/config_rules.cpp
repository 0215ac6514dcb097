// What config.json and its companions say.
#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "base/error.h"
#include "verify/loading.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kCompanionFile = "quantization_config.json";
// Loaders of other methods look for these.
constexpr std::array<std::string_view, 2> kForeignFiles = {"quantize_config.json",
                                                           "hf_quant_config.json"};

std::string text_of(const Json* value) {
  if (value == nullptr) return "absent";
  return value->is_string() ? value->as_string() : value->dump();
}

void expect(const Json& config, const char* key, std::string_view expected, Findings& findings) {
  const std::string actual = text_of(config.find(key));
  if (actual == expected) return;
  findings.add(
      {std::string(kConfigFile), fmt::format("{} is wrong", key), std::string(expected), actual});
}

void expect_if_present(const Json& config, const char* key, std::string_view expected,
                       Findings& findings) {
  if (config.find(key) != nullptr) expect(config, key, expected, findings);
}

void check_group_size(const Json& config, Findings& findings) {
  const Json* value = config.find("group_size");
  const bool known = value != nullptr && value->is_int() &&
                     (value->as_int() == 32 || value->as_int() == 64 || value->as_int() == 128);
  if (!known)
    findings.add(
        {std::string(kConfigFile), "group_size is wrong", "32, 64 or 128", text_of(value)});
}

// The companion's object; nullopt: there is none.
std::optional<Json> companion(const Subject& subject) {
  const fs::path path = subject.checkpoint.path() / kCompanionFile;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  return Json::parse_file(path);
}

std::vector<std::string> misplaced_modules(const Subject& subject) {
  std::vector<std::string> names;
  for (const Consumer& consumer : consumers()) {
    for (const Loading& loading : simulate_loading(subject, consumer)) {
      if (!loading.refusal.empty()) names.push_back(loading.refusal);
      for (const Mismatch& mismatch : loading.mismatches) names.push_back(mismatch.module);
    }
  }
  return names;
}

}  // namespace

void check_config_values(const Subject& subject, Findings& findings) {
  const Json& config = subject.quantization;
  if (config.is_null()) {
    findings.add(
        {std::string(kConfigFile), "quantization_config is missing", "an object", "absent"});
    return;
  }
  if (!subject.is_gptq()) expect(config, "quant_method", "auto-round", findings);
  expect(config, "bits", "4", findings);
  check_group_size(config, findings);
  expect(config, "sym", "true", findings);
  expect_if_present(config, "data_type", "int", findings);
  expect_if_present(config, "backend", "auto", findings);
  expect_if_present(config, "desc_act", "false", findings);
  if (subject.is_gptq()) expect_if_present(config, "checkpoint_format", "gptq", findings);
  parse_quantization_config(config);  // an Error of its own for members of a wrong type
}

void check_packing_format(const Subject& subject, Findings& findings) {
  if (subject.quantization.is_null() || subject.is_gptq()) return;
  expect(subject.quantization, "packing_format", "auto_round:auto_gptq", findings);
}

void check_foreign_configs(const Subject& subject, Findings& findings) {
  std::error_code ignored;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(subject.checkpoint.path(), ignored)) {
    const std::string name = entry.path().filename().string();
    const bool foreign = name == kForeignFiles[0] || name == kForeignFiles[1] ||
                         (name != kCompanionFile && name.ends_with(kCompanionFile));
    if (foreign) findings.add({name, "the file describes another quantization", "absent", ""});
  }
}

void check_configs_equal(const Subject& subject, Findings& findings) {
  if (subject.quantization.is_null()) return;
  const std::optional<Json> other = companion(subject);
  if (!other) {
    findings.add({std::string(kCompanionFile), "the file is missing", "", ""});
  } else if (!(*other == subject.quantization)) {
    findings.add({std::string(kCompanionFile), "the file differs from config.json", "", ""});
  }
}

void check_configs_resolve_alike(const Subject& subject, Findings& findings) {
  if (subject.quantization.is_null()) return;
  const std::optional<Json> other = companion(subject);
  if (!other || *other == subject.quantization) return;
  Subject alternative = subject;
  alternative.quantization = *other;
  alternative.names = read_quantization_names(*other);
  for (const char* key : {"quant_method", "bits", "group_size", "sym", "packing_format"}) {
    const std::string here = text_of(subject.quantization.find(key));
    const std::string there = text_of(other->find(key));
    if (here != there)
      findings.add({std::string(kCompanionFile), fmt::format("{} differs from config.json", key),
                    here, there});
  }
  if (findings.count() > 0) return;
  const std::vector<std::string> here = misplaced_modules(subject),
                                 there = misplaced_modules(alternative);
  for (const std::string& module : there) {
    if (std::find(here.begin(), here.end(), module) != here.end()) continue;
    findings.add({std::string(kCompanionFile),
                  "the file gives a module another form than config.json", "", module});
    return;
  }
}

void check_text_only(const Subject& subject, Findings& findings) {
  if (!subject.model.text_only) return;
  findings.add({std::string(kConfigFile), "the checkpoint is a text-only repack",
                "an architecture with a vision tower", subject.model.architecture});
}

void check_model_dtype(const Subject& subject, Findings& findings) {
  const Json& config = subject.checkpoint.config();
  const Json* text = config.find("text_config");
  for (const Json* object : {&config, text}) {
    if (object == nullptr) continue;
    for (const char* key : {"dtype", "torch_dtype"}) {
      if (object->find(key) != nullptr) return expect(*object, key, "bfloat16", findings);
    }
  }
  findings.add({std::string(kConfigFile), "dtype is missing", "bfloat16", "absent"});
}

void check_mtp_config(const Subject& subject, Findings& findings) {
  if (subject.model.mtp_layers > 0) return;
  for (const TensorEntry& entry : subject.checkpoint.tensors()) {
    if (!entry.name.starts_with("mtp.")) continue;
    findings.add({std::string(kConfigFile), "there are mtp tensors, but no layer to hold them",
                  "mtp_num_hidden_layers of 1", entry.name});
    return;
  }
}

}  // namespace qround::verify
