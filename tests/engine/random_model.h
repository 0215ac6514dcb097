// Random models of any shape, written as a checkpoint and loaded like any other.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "checkpoint/safetensors_layout.h"
#include "model/model.h"

namespace qround {

struct RandomModelShape {
  std::vector<bool> attention = {false, true};  // layers: attention or Gated DeltaNet
  int64_t hidden = 64, vocab = 100, max_positions = 4096;
  int64_t heads = 2, kv_heads = 1, head_dim = 32;
  int64_t key_heads = 1, value_heads = 2, delta_dim = 16;
  int64_t experts = 4, chosen = 2, expert_width = 32;
};

inline std::string random_model_config(const RandomModelShape& s) {
  std::string layers;
  for (const bool attention : s.attention)
    layers += fmt::format("{}\"{}\"", layers.empty() ? "" : ", ",
                          attention ? "full_attention" : "linear_attention");
  return fmt::format(
      R"({{"architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe",
"tie_word_embeddings": false, "text_config": {{"model_type": "qwen3_5_moe_text",
"layer_types": [{}], "num_hidden_layers": {}, "hidden_size": {}, "vocab_size": {},
"max_position_embeddings": {}, "num_attention_heads": {}, "num_key_value_heads": {},
"head_dim": {}, "linear_num_key_heads": {}, "linear_num_value_heads": {},
"linear_key_head_dim": {}, "linear_value_head_dim": {}, "linear_conv_kernel_dim": 4,
"num_experts": {}, "num_experts_per_tok": {}, "moe_intermediate_size": {},
"shared_expert_intermediate_size": {}, "mtp_num_hidden_layers": 1, "rms_norm_eps": 1e-06,
"hidden_act": "silu", "rope_parameters": {{"rope_type": "default", "rope_theta": 10000,
"partial_rotary_factor": 0.25, "mrope_interleaved": true, "mrope_section": [2, 1, 1]}}}}}})",
      layers, s.attention.size(), s.hidden, s.vocab, s.max_positions, s.heads, s.kv_heads,
      s.head_dim, s.key_heads, s.value_heads, s.delta_dim, s.delta_dim, s.experts, s.chosen,
      s.expert_width, s.expert_width);
}

// Writes BF16 weights that keep activations near unit size.
inline Model make_random_model(const std::filesystem::path& directory,
                               const RandomModelShape& shape, uint64_t seed) {
  std::filesystem::create_directories(directory);
  const std::string text = random_model_config(shape);
  std::ofstream(directory / "config.json") << text;
  const TensorTable table =
      TensorTable::of(parse_model_config(Json::parse(text), directory / "config.json"));
  std::vector<std::vector<uint16_t>> store;
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const Parameter& parameter : table.parameters()) {
    auto& values = store.emplace_back();
    int64_t count = 1;
    for (const int64_t extent : parameter.shape) count *= extent;
    const bool is_matrix = is_linear(parameter.role);
    const double size = is_matrix ? 2 / std::sqrt(static_cast<double>(parameter.shape.back()))
                        : parameter.role == Role::embedding ? 2
                                                            : 0.5;
    for (int64_t i = 0; i < count; ++i) {
      const double unit = random_unit(seed, store.size(), static_cast<uint64_t>(i));
      values.push_back(f32_to_bf16(static_cast<float>(size * (2 * unit - 1))));
    }
  }
  for (size_t i = 0; i < store.size(); ++i) {
    const Parameter& parameter = table.parameters()[i];
    tensors.emplace_back(parameter.tensor,
                         TensorView{DType::bf16, parameter.shape,
                                    reinterpret_cast<const std::byte*>(store[i].data())});
  }
  write_safetensors(directory / "model.safetensors", tensors);
  return Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory)));
}

// A directory of its own, removed at the end.
class RandomModelDirectory {
 public:
  RandomModelDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "qround-random-model-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~RandomModelDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  RandomModelDirectory(const RandomModelDirectory&) = delete;
  RandomModelDirectory& operator=(const RandomModelDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace qround
