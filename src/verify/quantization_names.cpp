#include "verify/quantization_names.h"

namespace qround::verify {
namespace {

std::optional<int64_t> int_member(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || !value->is_int()) return std::nullopt;
  return value->as_int();
}

std::optional<bool> bool_member(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || !value->is_bool()) return std::nullopt;
  return value->as_bool();
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t comma = text.find(','); comma != std::string::npos; comma = text.find(',', begin)) {
    parts.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::optional<std::vector<std::string>> read_blocks(const Json& config) {
  const Json* value = config.find("block_name_to_quantize");
  if (value == nullptr || value->is_null()) value = config.find("to_quant_block_names");
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return split(value->as_string());
  if (!value->is_array() || value->as_array().empty()) return std::nullopt;  // as good as none
  std::vector<std::string> blocks;
  for (const Json& name : value->as_array()) {
    if (name.is_string()) blocks.push_back(name.as_string());
  }
  return blocks;
}

NameOverride read_override(const std::string& key, const Json& settings) {
  NameOverride entry(key);
  entry.empty = settings.is_object() && settings.as_object().empty();
  entry.bits = int_member(settings, "bits");
  entry.group_size = int_member(settings, "group_size");
  entry.sym = bool_member(settings, "sym");
  return entry;
}

}  // namespace

const NameOverride* QuantizationNames::find(const std::string& key) const {
  const auto found = index_of_.find(key);
  return found == index_of_.end() ? nullptr : &overrides_[found->second];
}

void QuantizationNames::add(NameOverride entry) {
  const auto [found, is_new] = index_of_.emplace(entry.key, overrides_.size());
  if (is_new) {
    overrides_.push_back(std::move(entry));
  } else {
    overrides_[found->second] = std::move(entry);
  }
}

QuantizationNames read_quantization_names(const Json& config) {
  QuantizationNames names;
  names.bits = int_member(config, "bits").value_or(names.bits);
  names.group_size = int_member(config, "group_size").value_or(names.group_size);
  names.sym = bool_member(config, "sym").value_or(names.sym);
  names.blocks = read_blocks(config);
  if (const Json* extra = config.find("extra_config"); extra != nullptr && extra->is_object()) {
    for (const auto& [key, settings] : extra->as_object()) names.add(read_override(key, settings));
  }
  if (const Json* dynamic = config.find("dynamic"); dynamic != nullptr && dynamic->is_object()) {
    for (const auto& [key, settings] : dynamic->as_object()) {
      if (!key.starts_with("-:") && !key.starts_with("+:")) continue;
      names.dynamic.push_back({key.starts_with("-:"), key.substr(2)});
    }
  }
  return names;
}

}  // namespace qround::verify
