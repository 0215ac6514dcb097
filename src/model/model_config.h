// What config.json says about a network of the Qwen3.5 / Qwen3.6 family, checked and completed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace qround {

enum class MixerKind { attention, delta_net };

// Full attention with a per-head output gate.
struct AttentionConfig {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;  // Hq, Hkv, D
  int64_t rotary_dim = 0;                         // R
  double rope_theta = 0;
};

struct DeltaNetConfig {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;  // Hk, Hv, Dk, Dv
  int64_t conv_taps = 0;                                               // Kc

  int64_t key_width() const { return key_heads * key_dim; }
  int64_t value_width() const { return value_heads * value_dim; }
  int64_t conv_channels() const { return 2 * key_width() + value_width(); }  // C: q | k | v
};

struct MoeConfig {
  int64_t experts = 0, chosen = 0;  // E, A
  int64_t expert_width = 0, shared_width = 0;
};

// Shapes alone: enough for the table of tensors; the tower itself does not run here.
struct VisionConfig {
  int64_t depth = 0, hidden = 0, intermediate = 0, channels = 0, patch = 0, temporal_patch = 0;
  int64_t merge = 0, positions = 0, out_hidden = 0;
};

struct ModelConfig {
  std::string architecture;  // "Qwen3_5MoeForConditionalGeneration"
  std::string model_type;    // "qwen3_5_moe"
  bool text_only = false;    // names start with "model." rather than "model.language_model."
  int64_t vocab = 0, hidden = 0, max_positions = 0;
  float norm_eps = 1e-6f;
  bool tied_embeddings = false;
  std::vector<MixerKind> mixers;  // one per layer
  AttentionConfig attention;
  DeltaNetConfig delta_net;
  std::optional<MoeConfig> moe;  // absent: a dense feed-forward of width dense_width in every layer
  int64_t dense_width = 0;
  int64_t mtp_layers = 0;  // 0 or 1
  std::optional<VisionConfig> vision;
};

// `source` is the file named in errors. Throws Error for an architecture that is not known (listing
// those that are), a missing key, a value of the wrong type or numbers that do not fit together.
ModelConfig parse_model_config(const Json& config, const std::filesystem::path& source);

}  // namespace qround
