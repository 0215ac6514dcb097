// What quantization_config says about which modules are quantized, as raw as other programs read
// it: no trimming, no defaults of our own. name_resolution.h simulates what each makes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "verify/name_pattern.h"

namespace qround::verify {

// An entry of extra_config; of its members only these three are read by vLLM and SGLang.
struct NameOverride {
  std::string key;
  std::optional<int64_t> bits, group_size;
  std::optional<bool> sym;
  bool empty = false;          // no member at all
  bool is_expression = false;  // by its characters
  NamePattern pattern;         // the key as an expression, whatever it is meant to be

  explicit NameOverride(std::string text)
      : key(std::move(text)), is_expression(has_regex_characters(key)), pattern(key) {}
};

struct DynamicRule {
  bool skips = false;  // "-:": not quantized; "+:" gives other settings
  std::string expression;
};

struct QuantizationNames {
  int64_t bits = 4, group_size = 128;
  bool sym = true;
  // As split by the readers; nullopt: no list, so everything is inside.
  std::optional<std::vector<std::string>> blocks;
  std::vector<DynamicRule> dynamic;

  const std::vector<NameOverride>& overrides() const { return overrides_; }  // in the file's order
  const NameOverride* find(const std::string& key) const;                    // nullptr: none
  void add(NameOverride entry);  // one with the key of an earlier one replaces it in place

 private:
  std::vector<NameOverride> overrides_;
  std::unordered_map<std::string, size_t> index_of_;
};

// Reads what is there and skips what has the wrong type: rules about the values report that.
QuantizationNames read_quantization_names(const Json& quantization_config);

}  // namespace qround::verify
