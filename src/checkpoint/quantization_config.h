// "quantization_config": what a checkpoint says about how its linears are quantized.
//
// The object stands in config.json and, as AutoRound writes it, once more in
// quantization_config.json. Other programs read one or the other, so both are always written from
// one value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gptq_int4.h"

namespace qround {

// How the modules of one name, or of those that a regular expression finds, differ from the rest.
struct ModuleOverride {
  std::string pattern;
  Json settings = {};  // {"bits": 16, "data_type": "fp"}

  std::optional<int64_t> bits() const;  // absent: as everywhere

  friend bool operator==(const ModuleOverride&, const ModuleOverride&) = default;
};

// Members that may be absent from a file are optional; to_json() leaves the absent ones out.
struct QuantizationConfig {
  std::string quant_method = "auto-round";  // or "gptq", ...
  int64_t bits = 4;
  int64_t group_size = 128;  // -1: a whole row
  std::optional<bool> sym = true;
  std::optional<std::string> data_type = "int";
  std::optional<std::string> packing_format = "auto_round:auto_gptq";
  std::optional<bool> desc_act = {};                  // of GPTQ: inputs are ordered, g_idx matters
  std::optional<std::string> checkpoint_format = {};  // of GPTQ: "gptq" (v1) or "gptq_v2"

  // "block_name_to_quantize"; empty: absent. In the file a list, or one string with commas.
  std::vector<std::string> block_names = {};
  bool block_names_are_a_list = false;

  std::vector<ModuleOverride> extra_config = {};         // in the file's order; empty: absent
  std::optional<Json> dynamic = {};                      // overrides as GPTQModel writes them
  std::vector<std::pair<std::string, Json>> other = {};  // everything else, in the file's order

  friend bool operator==(const QuantizationConfig&, const QuantizationConfig&) = default;
};

// Throws Error naming the key that is missing or has the wrong type.
QuantizationConfig parse_quantization_config(const Json& object);

// Keys in the order of AutoRound's quantization_config.json: bits, data_type, group_size, sym, the
// others, block_name_to_quantize, quant_method, packing_format, extra_config, dynamic.
Json to_json(const QuantizationConfig& config);

// The object of a checkpoint, where readers look for it: config.json, its text_config, then the
// file quantization_config.json. nullopt: the checkpoint is not quantized. Throws Error naming the
// file.
std::optional<QuantizationConfig> read_quantization_config(const Checkpoint& checkpoint);

// How this program reads the int4 linears that `config` describes. Throws Error when it cannot:
// other bits than 4, other packings than GPTQ's.
Int4Format int4_format(const QuantizationConfig& config);

// Writes OUTPUT/config.json, which is `source` with the member "quantization_config" set and
// everything else as and where it was, and OUTPUT/quantization_config.json; each all or nothing.
void write_config_files(const std::filesystem::path& output, const Json& source,
                        const QuantizationConfig& config);

}  // namespace qround
