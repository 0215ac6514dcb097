#include "model/model_config.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"

namespace qround {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 32;

// Reads one JSON object of the file; every error names file and key.
class Section {
 public:
  Section(const Json& object, std::string name, const std::filesystem::path& source)
      : object_(object), name_(std::move(name)), source_(source) {
    if (!object.is_object()) throw Error("\"" + name_ + "\" is not an object").file(source_);
  }

  Section child(const std::string& key) const {
    const Json* value = object_.find(key);
    if (value == nullptr) throw missing(key);
    return Section(*value, name_.empty() ? key : name_ + "." + key, source_);
  }
  bool has(std::string_view key) const {
    const Json* value = object_.find(key);
    return value != nullptr && !value->is_null();
  }
  const Json& get(std::string_view key) const {
    const Json* value = object_.find(key);
    if (value == nullptr) throw missing(key);
    return *value;
  }

  // A size or count: an integer of at least `least`.
  int64_t extent(std::string_view key, int64_t least = 1) const {
    const Json& value = get(key);
    if (!value.is_int() || value.as_int() < least || value.as_int() > kMaxExtent) {
      throw wrong(key, fmt::format("an integer of at least {}", least), value.dump());
    }
    return value.as_int();
  }
  int64_t extent_or(std::string_view key, int64_t fallback, int64_t least = 1) const {
    return has(key) ? extent(key, least) : fallback;
  }
  double number(std::string_view key) const {
    const Json& value = get(key);
    if (!value.is_number() || !(value.as_double() > 0) || !std::isfinite(value.as_double())) {
      throw wrong(key, "a positive number", value.dump());
    }
    return value.as_double();
  }
  std::string text(std::string_view key) const {
    const Json& value = get(key);
    if (!value.is_string()) throw wrong(key, "a string", value.dump());
    return value.as_string();
  }
  bool flag_or(std::string_view key, bool fallback) const {
    if (!has(key)) return fallback;
    const Json& value = get(key);
    if (!value.is_bool()) throw wrong(key, "true or false", value.dump());
    return value.as_bool();
  }

  Error wrong(std::string_view key, std::string_view expected, std::string_view actual) const {
    return Error("bad value of \"" + path(key) + "\"")
        .file(source_)
        .expected(expected)
        .actual(actual);
  }

 private:
  std::string path(std::string_view key) const {
    return name_.empty() ? std::string(key) : name_ + "." + std::string(key);
  }
  Error missing(std::string_view key) const {
    return Error("missing key \"" + path(key) + "\"").file(source_);
  }

  const Json& object_;
  std::string name_;
  const std::filesystem::path& source_;
};

struct ArchitectureRow {
  const char* architecture;
  bool moe;
  bool text_only;
};

constexpr ArchitectureRow kArchitectures[] = {
    {"Qwen3_5MoeForConditionalGeneration", true, false},
    {"Qwen3_5ForConditionalGeneration", false, false},
    {"Qwen3_5MoeForCausalLM", true, true},
    {"Qwen3_5ForCausalLM", false, true},
};

const ArchitectureRow& find_architecture(const Section& root, const std::filesystem::path& source) {
  const Json& names = root.get("architectures");
  if (!names.is_array() || names.as_array().size() != 1 || !names.as_array()[0].is_string()) {
    throw root.wrong("architectures", "a list of one name", names.dump());
  }
  const std::string& name = names.as_array()[0].as_string();
  std::string known;
  for (const ArchitectureRow& row : kArchitectures) {
    if (name == row.architecture) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.architecture);
  }
  throw Error("unknown architecture").file(source).expected(known).actual(name);
}

std::vector<MixerKind> parse_mixers(const Section& text) {
  const int64_t layers = text.extent("num_hidden_layers");
  std::vector<MixerKind> mixers;
  if (!text.has("layer_types")) {
    const int64_t interval = text.extent_or("full_attention_interval", 4);
    for (int64_t layer = 0; layer < layers; ++layer) {
      mixers.push_back((layer + 1) % interval == 0 ? MixerKind::attention : MixerKind::delta_net);
    }
    return mixers;
  }
  const Json& types = text.get("layer_types");
  if (!types.is_array() || static_cast<int64_t>(types.as_array().size()) != layers) {
    throw text.wrong("layer_types", fmt::format("a list of {} names", layers), types.dump());
  }
  for (const Json& type : types.as_array()) {
    if (type == Json("full_attention")) {
      mixers.push_back(MixerKind::attention);
    } else if (type == Json("linear_attention")) {
      mixers.push_back(MixerKind::delta_net);
    } else {
      throw text.wrong("layer_types", "full_attention or linear_attention", type.dump());
    }
  }
  return mixers;
}

AttentionConfig parse_attention(const Section& text) {
  AttentionConfig attention;
  attention.heads = text.extent("num_attention_heads");
  attention.kv_heads = text.extent("num_key_value_heads");
  attention.head_dim = text.extent("head_dim");
  if (attention.heads % attention.kv_heads != 0) {
    throw text.wrong("num_key_value_heads", fmt::format("a divisor of {} heads", attention.heads),
                     fmt::format("{}", attention.kv_heads));
  }
  if (text.flag_or("attention_bias", false)) throw text.wrong("attention_bias", "false", "true");
  const Section rope =
      text.has("rope_parameters") ? text.child("rope_parameters") : text.child("rope_scaling");
  if (rope.has("rope_type") && rope.text("rope_type") != "default") {
    throw rope.wrong("rope_type", "default", rope.text("rope_type"));
  }
  attention.rope_theta = rope.number("rope_theta");
  const double factor = rope.has("partial_rotary_factor") ? rope.number("partial_rotary_factor")
                                                          : text.number("partial_rotary_factor");
  attention.rotary_dim = static_cast<int64_t>(static_cast<double>(attention.head_dim) * factor);
  if (attention.rotary_dim < 2 || attention.rotary_dim % 2 != 0 ||
      attention.rotary_dim > attention.head_dim) {
    throw rope.wrong("partial_rotary_factor", "an even number of rotary dimensions within the head",
                     fmt::format("{} of {}", attention.rotary_dim, attention.head_dim));
  }
  return attention;
}

DeltaNetConfig parse_delta_net(const Section& text) {
  DeltaNetConfig delta_net;
  delta_net.key_heads = text.extent("linear_num_key_heads");
  delta_net.value_heads = text.extent("linear_num_value_heads");
  delta_net.key_dim = text.extent("linear_key_head_dim");
  delta_net.value_dim = text.extent("linear_value_head_dim");
  delta_net.conv_taps = text.extent("linear_conv_kernel_dim", 2);
  if (delta_net.value_heads % delta_net.key_heads != 0) {
    throw text.wrong("linear_num_value_heads",
                     fmt::format("a multiple of {} key heads", delta_net.key_heads),
                     fmt::format("{}", delta_net.value_heads));
  }
  if (text.has("output_gate_type")) {
    const std::string gate = text.text("output_gate_type");
    if (gate != "swish" && gate != "silu")
      throw text.wrong("output_gate_type", "swish or silu", gate);
  }
  return delta_net;
}

MoeConfig parse_moe(const Section& text) {
  MoeConfig moe;
  moe.experts = text.extent("num_experts");
  moe.chosen = text.extent("num_experts_per_tok");
  moe.expert_width = text.extent("moe_intermediate_size");
  moe.shared_width = text.extent("shared_expert_intermediate_size");
  if (moe.chosen > moe.experts) {
    throw text.wrong("num_experts_per_tok", fmt::format("at most {} experts", moe.experts),
                     fmt::format("{}", moe.chosen));
  }
  return moe;
}

VisionConfig parse_vision(const Section& section) {
  VisionConfig vision;
  vision.depth = section.extent("depth", 0);
  vision.hidden = section.extent("hidden_size");
  vision.intermediate = section.extent("intermediate_size");
  vision.channels = section.extent_or("in_channels", 3);
  vision.patch = section.extent("patch_size");
  vision.temporal_patch = section.extent("temporal_patch_size");
  vision.merge = section.extent("spatial_merge_size");
  vision.positions = section.extent("num_position_embeddings");
  vision.out_hidden = section.extent("out_hidden_size");
  return vision;
}

}  // namespace

ModelConfig parse_model_config(const Json& config, const std::filesystem::path& source) {
  const Section root(config, "", source);
  const ArchitectureRow& row = find_architecture(root, source);
  ModelConfig model;
  model.architecture = row.architecture;
  model.model_type = root.text("model_type");
  model.text_only = row.text_only;
  const Section text = row.text_only && !root.has("text_config") ? root : root.child("text_config");
  model.vocab = text.extent("vocab_size");
  model.hidden = text.extent("hidden_size");
  model.max_positions = text.extent("max_position_embeddings");
  model.norm_eps = static_cast<float>(text.number("rms_norm_eps"));
  model.tied_embeddings =
      root.flag_or("tie_word_embeddings", text.flag_or("tie_word_embeddings", false));
  if (text.has("hidden_act") && text.text("hidden_act") != "silu")
    throw text.wrong("hidden_act", "silu", text.text("hidden_act"));
  model.mixers = parse_mixers(text);
  model.attention = parse_attention(text);
  model.delta_net = parse_delta_net(text);
  if (row.moe) {
    model.moe = parse_moe(text);
  } else {
    model.dense_width = text.extent("intermediate_size");
  }
  model.mtp_layers =
      text.extent_or("mtp_num_hidden_layers", root.extent_or("mtp_num_hidden_layers", 0, 0), 0);
  if (model.mtp_layers > 1)
    throw text.wrong("mtp_num_hidden_layers", "0 or 1", fmt::format("{}", model.mtp_layers));
  if (text.flag_or("mtp_use_dedicated_embeddings", false))
    throw text.wrong("mtp_use_dedicated_embeddings", "false", "true");
  if (root.has("vision_config")) model.vision = parse_vision(root.child("vision_config"));
  return model;
}

}  // namespace qround
