#include "checkpoint/quantization_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMember = "quantization_config";
constexpr std::string_view kFileName = "quantization_config.json";

// Runs read(value) and names the key in what it throws.
template <typename Read>
auto read_key(const Json& object, std::string_view key, const Read& read)
    -> decltype(read(object)) {
  try {
    return read(object.at(key));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: \"{}\" is not usable: {}", kMember, key, error.message()))
        .expected(error.expected())
        .actual(error.actual());
  }
}

int64_t read_int(const Json& object, std::string_view key) {
  return read_key(object, key, [](const Json& value) { return value.as_int(); });
}

std::optional<bool> read_bool(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return read_key(object, key, [](const Json& member) { return member.as_bool(); });
}

std::optional<std::string> read_string(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return read_key(object, key, [](const Json& member) { return member.as_string(); });
}

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    const size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

void read_block_names(const Json& object, QuantizationConfig& config) {
  constexpr std::string_view kKey = "block_name_to_quantize";
  const Json* value = object.find(kKey);
  if (value == nullptr || value->is_null()) return;
  config.block_names_are_a_list = value->is_array();
  config.block_names = read_key(object, kKey, [](const Json& names) {
    if (!names.is_array()) return split_at_commas(names.as_string());
    std::vector<std::string> list;
    for (const Json& name : names.as_array()) list.push_back(name.as_string());
    return list;
  });
}

void read_extra_config(const Json& object, QuantizationConfig& config) {
  const Json* value = object.find("extra_config");
  if (value == nullptr || value->is_null()) return;
  read_key(object, "extra_config", [&](const Json& entries) {
    for (const auto& [pattern, settings] : entries.as_object()) {
      settings.as_object();
      config.extra_config.push_back({.pattern = pattern, .settings = settings});
      config.extra_config.back().bits();
    }
    return true;
  });
}

constexpr std::array<std::string_view, 11> kOwnKeys = {"quant_method",
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

template <typename T>
void set_if_present(JsonObject& object, std::string_view key, const std::optional<T>& value) {
  if (value) object.set(key, *value);
}

Json block_names_json(const QuantizationConfig& config) {
  if (!config.block_names_are_a_list) return fmt::format("{}", fmt::join(config.block_names, ","));
  return Json::Array(config.block_names.begin(), config.block_names.end());
}

Json extra_config_json(const QuantizationConfig& config) {
  JsonObject entries;
  for (const auto& [pattern, settings] : config.extra_config) entries.set(pattern, settings);
  return entries;
}

// The zero of an int4 code is its stored nibble plus this; nullopt: not GPTQ's layout.
std::optional<int> zero_offset(const QuantizationConfig& config) {
  if (config.quant_method == "gptq") {
    const std::string format = config.checkpoint_format.value_or("gptq");
    if (format == "gptq") return 1;
    if (format == "gptq_v2") return 0;
    return std::nullopt;
  }
  if (config.quant_method != "auto-round") return std::nullopt;
  const std::string format = config.packing_format.value_or("auto_round:auto_gptq");
  if (format == "auto_round:auto_gptq" || format == "auto_round:gptq" || format == "auto_gptq") {
    return 1;
  }
  if (format == "auto_round" || format == "auto_round:gptqmodel") return 0;
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> ModuleOverride::bits() const {
  const Json* value = settings.find("bits");
  if (value == nullptr || value->is_null()) return std::nullopt;
  return value->as_int();
}

QuantizationConfig parse_quantization_config(const Json& object) {
  if (!object.is_object()) {
    throw Error("quantization_config is no object").actual(object.type_name());
  }
  QuantizationConfig config;
  config.quant_method =
      read_key(object, "quant_method", [](const Json& value) { return value.as_string(); });
  config.bits = read_int(object, "bits");
  config.group_size = read_int(object, "group_size");
  config.sym = read_bool(object, "sym");
  config.data_type = read_string(object, "data_type");
  config.packing_format = read_string(object, "packing_format");
  config.desc_act = read_bool(object, "desc_act");
  config.checkpoint_format = read_string(object, "checkpoint_format");
  read_block_names(object, config);
  read_extra_config(object, config);
  if (const Json* dynamic = object.find("dynamic")) config.dynamic = *dynamic;
  for (const auto& [key, value] : object.as_object()) {
    if (std::find(kOwnKeys.begin(), kOwnKeys.end(), key) == kOwnKeys.end()) {
      config.other.emplace_back(key, value);
    }
  }
  return config;
}

Json to_json(const QuantizationConfig& config) {
  JsonObject object;
  object.set("bits", config.bits);
  set_if_present(object, "data_type", config.data_type);
  object.set("group_size", config.group_size);
  set_if_present(object, "sym", config.sym);
  set_if_present(object, "desc_act", config.desc_act);
  for (const auto& [key, value] : config.other) object.set(key, value);
  if (!config.block_names.empty()) object.set("block_name_to_quantize", block_names_json(config));
  object.set("quant_method", config.quant_method);
  set_if_present(object, "checkpoint_format", config.checkpoint_format);
  set_if_present(object, "packing_format", config.packing_format);
  if (!config.extra_config.empty()) object.set("extra_config", extra_config_json(config));
  set_if_present(object, "dynamic", config.dynamic);
  return object;
}

std::optional<QuantizationConfig> read_quantization_config(const Checkpoint& checkpoint) {
  fs::path file = checkpoint.path() / "config.json";
  try {
    if (const Json* member = checkpoint.config().find(kMember)) {
      return parse_quantization_config(*member);
    }
    const Json* text_config = checkpoint.config().find("text_config");
    const Json* member = text_config == nullptr ? nullptr : text_config->find(kMember);
    if (member != nullptr) return parse_quantization_config(*member);
    file = checkpoint.path() / kFileName;
    std::error_code ignored;
    if (!fs::exists(file, ignored)) return std::nullopt;
    return parse_quantization_config(Json::parse_file(file));
  } catch (Error& error) {
    throw error.file(file);
  }
}

Int4Format int4_format(const QuantizationConfig& config) {
  const std::optional<int> offset = zero_offset(config);
  if (config.bits == 4 && offset) return {.group_size = config.group_size, .zero_offset = *offset};
  throw Error("cannot read linears quantized in this way")
      .expected(
          "4 bits in GPTQ's layout: quant_method \"auto-round\" with packing_format "
          "\"auto_round:auto_gptq\", or \"gptq\"")
      .actual(fmt::format("{} bits, quant_method \"{}\", packing_format \"{}\"", config.bits,
                          config.quant_method,
                          config.packing_format.value_or(config.checkpoint_format.value_or(""))));
}

void write_config_files(const fs::path& output, const Json& source,
                        const QuantizationConfig& config) {
  const Json object = to_json(config);
  Json full = source;
  full.set(kMember, object);
  write_file_atomically(output / "config.json", full.dump({.indent = 2}) + "\n");
  write_file_atomically(output / kFileName, object.dump({.indent = 2}) + "\n");
}

}  // namespace qround
