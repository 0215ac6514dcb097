// The weights of one decoder block. Linear maps stay where the checkpoint is mapped; the small
// vectors (norms, convolution, decay parameters) are read to f32. A block may be copied into the
// memory of a backend that has its own.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "model/model_config.h"
#include "model/parameter_vector.h"
#include "model/stored_parameter.h"
#include "ops/weight.h"

namespace qround {

struct AttentionWeights {
  ops::Weight q_proj;              // [Hq * 2D, H]: per head D rows of query, then D rows of gate
  ops::Weight k_proj, v_proj;      // [Hkv * D, H]
  ops::Weight o_proj;              // [H, Hq * D]
  ParameterVector q_norm, k_norm;  // [D]
};

struct DeltaNetWeights {
  ops::Weight in_proj_qkv;           // [C, H]
  ops::Weight in_proj_z;             // [Hv * Dv, H]
  ops::Weight in_proj_b, in_proj_a;  // [Hv, H]
  ops::Weight out_proj;              // [H, Hv * Dv]
  ParameterVector conv1d;            // [C, Kc]
  ParameterVector a_log, dt_bias;    // [Hv]
  ParameterVector norm;              // [Dv]
};

struct MoeWeights {
  ops::Weight router;                       // [E, H]
  std::vector<ops::SwigluWeights> experts;  // [E]
  ops::SwigluWeights shared;
  ops::Weight shared_expert_gate;  // [1, H]
};

struct BlockWeights {
  ParameterVector input_norm, post_attention_norm;  // [H]
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

// A block where a backend's operations can read it.
struct ResidentBlock {
  BlockWeights weights;
  ops::Buffer<std::byte> matrices;  // what the linear maps of `weights` point into; empty on hosts,
                                    // where `weights` is what was given
};

// Enqueued on `stream`. Throws Error of kind `resource`.
ResidentBlock make_resident(const BlockWeights& weights, const ops::Memory& memory,
                            ops::Stream* stream);

}  // namespace qround
