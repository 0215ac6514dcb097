// The weights of one decoder block. Linear maps stay where the checkpoint is mapped; the small
// vectors (norms, convolution, decay parameters) are read to f32.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "model/model_config.h"
#include "model/stored_parameter.h"
#include "ops/weight.h"

namespace qround {

struct AttentionWeights {
  ops::Weight q_proj;                 // [Hq * 2D, H]: per head D rows of query, then D rows of gate
  ops::Weight k_proj, v_proj;         // [Hkv * D, H]
  ops::Weight o_proj;                 // [H, Hq * D]
  std::vector<float> q_norm, k_norm;  // [D]
};

struct DeltaNetWeights {
  ops::Weight in_proj_qkv;            // [C, H]
  ops::Weight in_proj_z;              // [Hv * Dv, H]
  ops::Weight in_proj_b, in_proj_a;   // [Hv, H]
  ops::Weight out_proj;               // [H, Hv * Dv]
  std::vector<float> conv1d;          // [C, Kc]
  std::vector<float> a_log, dt_bias;  // [Hv]
  std::vector<float> norm;            // [Dv]
};

struct MoeWeights {
  ops::Weight router;                       // [E, H]
  std::vector<ops::SwigluWeights> experts;  // [E]
  ops::SwigluWeights shared;
  ops::Weight shared_expert_gate;  // [1, H]
};

struct BlockWeights {
  std::vector<float> input_norm, post_attention_norm;  // [H]
  std::variant<AttentionWeights, DeltaNetWeights> mixer;
  std::variant<MoeWeights, ops::SwigluWeights> feed_forward;
};

inline MixerKind mixer_kind(const BlockWeights& weights) {
  return std::holds_alternative<AttentionWeights>(weights.mixer) ? MixerKind::attention
                                                                 : MixerKind::delta_net;
}

// Throws Error naming the tensor that is missing or wrong. The views live as long as `checkpoint`.
BlockWeights load_block(const Checkpoint& checkpoint, const ModelConfig& config,
                        const TensorTable& table, Part part, int64_t block);

}  // namespace qround
