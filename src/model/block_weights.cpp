#include "model/block_weights.h"

namespace qround {
namespace {

// Reads the parameters of one block by their roles.
class BlockReader {
 public:
  BlockReader(const Checkpoint& checkpoint, const TensorTable& table, Part part, int64_t block)
      : checkpoint_(checkpoint), table_(table), part_(part), block_(block) {}

  ops::Weight weight(Role role, int64_t expert = -1) const {
    return stored_weight(checkpoint_, parameter(role, expert));
  }
  std::vector<float> values(Role role) const {
    return stored_values(checkpoint_, parameter(role, -1));
  }
  ops::SwigluWeights swiglu(Role gate, Role up, Role down, int64_t expert = -1) const {
    return {.gate = weight(gate, expert), .up = weight(up, expert), .down = weight(down, expert)};
  }

 private:
  const Parameter& parameter(Role role, int64_t expert) const {
    return *table_.find(part_, block_, role, expert);
  }

  const Checkpoint& checkpoint_;
  const TensorTable& table_;
  Part part_;
  int64_t block_;
};

AttentionWeights load_attention(const BlockReader& read) {
  return {.q_proj = read.weight(Role::q_proj),
          .k_proj = read.weight(Role::k_proj),
          .v_proj = read.weight(Role::v_proj),
          .o_proj = read.weight(Role::o_proj),
          .q_norm = read.values(Role::q_norm),
          .k_norm = read.values(Role::k_norm)};
}

DeltaNetWeights load_delta_net(const BlockReader& read) {
  return {.in_proj_qkv = read.weight(Role::in_proj_qkv),
          .in_proj_z = read.weight(Role::in_proj_z),
          .in_proj_b = read.weight(Role::in_proj_b),
          .in_proj_a = read.weight(Role::in_proj_a),
          .out_proj = read.weight(Role::out_proj),
          .conv1d = read.values(Role::conv1d),
          .a_log = read.values(Role::a_log),
          .dt_bias = read.values(Role::dt_bias),
          .norm = read.values(Role::delta_net_norm)};
}

MoeWeights load_moe(const BlockReader& read, const MoeConfig& moe) {
  MoeWeights weights;
  weights.router = read.weight(Role::router);
  for (int64_t expert = 0; expert < moe.experts; ++expert) {
    weights.experts.push_back(
        read.swiglu(Role::expert_gate, Role::expert_up, Role::expert_down, expert));
  }
  weights.shared = read.swiglu(Role::shared_gate, Role::shared_up, Role::shared_down);
  weights.shared_expert_gate = read.weight(Role::shared_expert_gate);
  return weights;
}

}  // namespace

BlockWeights load_block(const Checkpoint& checkpoint, const ModelConfig& config,
                        const TensorTable& table, Part part, int64_t block) {
  const BlockReader read(checkpoint, table, part, block);
  const MixerKind mixer =
      part == Part::mtp ? MixerKind::attention : config.mixers[static_cast<size_t>(block)];
  BlockWeights weights;
  weights.input_norm = read.values(Role::input_norm);
  weights.post_attention_norm = read.values(Role::post_attention_norm);
  if (mixer == MixerKind::attention) {
    weights.mixer = load_attention(read);
  } else {
    weights.mixer = load_delta_net(read);
  }
  if (config.moe) {
    weights.feed_forward = load_moe(read, *config.moe);
  } else {
    weights.feed_forward = read.swiglu(Role::dense_gate, Role::dense_up, Role::dense_down);
  }
  return weights;
}

}  // namespace qround
