// The table of a network's parameters: the one place that knows how the family names its tensors.
// Loader, quantizer, exporter, verifier and estimates all read it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/tensor_view.h"
#include "model/model_config.h"

namespace qround {

enum class Part { text, mtp, visual };

// What a parameter is to the network. Linear maps come first.
enum class Role {
  q_proj,  // rows of each head: D of the query, then D of its gate
  k_proj,
  v_proj,
  o_proj,
  in_proj_qkv,
  in_proj_z,
  in_proj_b,
  in_proj_a,
  out_proj,
  router,
  expert_gate,
  expert_up,
  expert_down,
  shared_gate,
  shared_up,
  shared_down,
  shared_expert_gate,
  dense_gate,
  dense_up,
  dense_down,
  mtp_fc,
  lm_head,
  visual_linear,
  // No linear maps.
  embedding,
  final_norm,
  input_norm,
  post_attention_norm,
  q_norm,
  k_norm,
  conv1d,
  a_log,
  dt_bias,
  delta_net_norm,
  mtp_embedding_norm,
  mtp_hidden_norm,
  visual_other,
};

bool is_linear(Role role);
std::string_view role_name(Role role);

// How tensor parallelism would split a linear map.
enum class ShardAxis { none, outputs, inputs };

struct Parameter {
  std::string module;  // "model.language_model.layers.0.mlp.experts.3.gate_proj": what int4 tensors
                       // hang below
  std::string
      tensor;   // its tensor in an unquantized, unfused checkpoint: usually module + ".weight"
  Shape shape;  // linear maps: [N, K]
  Role role;
  Part part;
  int64_t block = -1;   // layer within its part, -1 outside the layers
  int64_t expert = -1;  // of expert_* alone
  // Checkpoints that fuse experts keep this one as rows [fused_row, fused_row + N) of
  // fused_tensor[expert].
  std::string fused_tensor;
  int64_t fused_row = 0;
  std::string input;  // linear maps of one block with the same text read the same activation
  ShardAxis shard = ShardAxis::none;
  std::string runtime_group;  // module under which inference engines fuse this map with others:
                              // "...in_proj_ba"
};

// A tensor that holds all experts of one kind of a layer.
struct FusedTensor {
  std::string name;
  Shape shape;
  Part part;
  int64_t block;
};

class TensorTable {
 public:
  static TensorTable of(const ModelConfig& config);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<FusedTensor>& fused_tensors() const { return fused_; }

  // The parameter with this role, or nullptr.
  const Parameter* find(Part part, int64_t block, Role role, int64_t expert = -1) const;
  const Parameter* find_module(std::string_view module) const;
  // By the name of its unfused, unquantized tensor.
  const Parameter* find_tensor(std::string_view tensor) const;
  // Module paths under which the blocks of each part lie, without the index:
  // "model.language_model.layers".
  std::string block_prefix(Part part) const;

 private:
  friend class TableBuilder;
  std::vector<Parameter> parameters_;
  std::vector<FusedTensor> fused_;
  std::map<std::tuple<Part, int64_t, Role, int64_t>, size_t> by_role_;
  std::map<std::string, size_t, std::less<>> by_module_, by_tensor_;
  std::string text_blocks_;
};

}  // namespace qround
