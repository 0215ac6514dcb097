#include "model/tensor_table.h"

#include <fmt/format.h>

namespace qround {

bool is_linear(Role role) { return role < Role::embedding; }

std::string_view role_name(Role role) {
  switch (role) {
    case Role::q_proj:
      return "q_proj";
    case Role::k_proj:
      return "k_proj";
    case Role::v_proj:
      return "v_proj";
    case Role::o_proj:
      return "o_proj";
    case Role::in_proj_qkv:
      return "in_proj_qkv";
    case Role::in_proj_z:
      return "in_proj_z";
    case Role::in_proj_b:
      return "in_proj_b";
    case Role::in_proj_a:
      return "in_proj_a";
    case Role::out_proj:
      return "out_proj";
    case Role::router:
      return "router";
    case Role::expert_gate:
      return "experts.gate_proj";
    case Role::expert_up:
      return "experts.up_proj";
    case Role::expert_down:
      return "experts.down_proj";
    case Role::shared_gate:
      return "shared_expert.gate_proj";
    case Role::shared_up:
      return "shared_expert.up_proj";
    case Role::shared_down:
      return "shared_expert.down_proj";
    case Role::shared_expert_gate:
      return "shared_expert_gate";
    case Role::dense_gate:
      return "mlp.gate_proj";
    case Role::dense_up:
      return "mlp.up_proj";
    case Role::dense_down:
      return "mlp.down_proj";
    case Role::mtp_fc:
      return "mtp.fc";
    case Role::lm_head:
      return "lm_head";
    case Role::visual_linear:
      return "visual linear";
    case Role::embedding:
      return "embedding";
    case Role::final_norm:
      return "final norm";
    case Role::input_norm:
      return "input_layernorm";
    case Role::post_attention_norm:
      return "post_attention_layernorm";
    case Role::q_norm:
      return "q_norm";
    case Role::k_norm:
      return "k_norm";
    case Role::conv1d:
      return "conv1d";
    case Role::a_log:
      return "A_log";
    case Role::dt_bias:
      return "dt_bias";
    case Role::delta_net_norm:
      return "linear_attn.norm";
    case Role::mtp_embedding_norm:
      return "pre_fc_norm_embedding";
    case Role::mtp_hidden_norm:
      return "pre_fc_norm_hidden";
    case Role::visual_other:
      return "visual";
  }
  return "";
}

// Writes the family's names down, in the order of the forward pass.
class TableBuilder {
 public:
  explicit TableBuilder(const ModelConfig& config) : config_(config) {}

  TensorTable build() {
    const std::string text = config_.text_only ? "model." : "model.language_model.";
    table_.text_blocks_ = text + "layers";
    add_tensor({.tensor = text + "embed_tokens.weight",
                .shape = {config_.vocab, config_.hidden},
                .role = Role::embedding,
                .part = Part::text});
    for (size_t layer = 0; layer < config_.mixers.size(); ++layer) {
      add_block(fmt::format("{}.{}", table_.text_blocks_, layer), Part::text,
                static_cast<int64_t>(layer), config_.mixers[layer]);
    }
    add_norm(text + "norm", Role::final_norm, Part::text, -1, config_.hidden);
    if (!config_.tied_embeddings) {
      add_linear({.module = "lm_head",
                  .shape = {config_.vocab, config_.hidden},
                  .role = Role::lm_head,
                  .part = Part::text,
                  .input = "final",
                  .shard = ShardAxis::outputs});
    }
    if (config_.mtp_layers > 0) add_mtp();
    if (config_.vision) add_visual(*config_.vision);
    index();
    return std::move(table_);
  }

 private:
  void add_tensor(Parameter parameter) {
    if (parameter.module.empty()) {
      parameter.module = parameter.tensor.substr(0, parameter.tensor.rfind(".weight"));
    }
    table_.parameters_.push_back(std::move(parameter));
  }
  void add_linear(Parameter parameter) {
    parameter.tensor = parameter.module + ".weight";
    add_tensor(std::move(parameter));
  }
  void add_norm(const std::string& module, Role role, Part part, int64_t block, int64_t width) {
    add_tensor({.module = module,
                .tensor = module + ".weight",
                .shape = {width},
                .role = role,
                .part = part,
                .block = block});
  }

  void add_block(const std::string& prefix, Part part, int64_t block, MixerKind mixer) {
    add_norm(prefix + ".input_layernorm", Role::input_norm, part, block, config_.hidden);
    if (mixer == MixerKind::attention) {
      add_attention(prefix + ".self_attn.", part, block);
    } else {
      add_delta_net(prefix + ".linear_attn.", part, block);
    }
    add_norm(prefix + ".post_attention_layernorm", Role::post_attention_norm, part, block,
             config_.hidden);
    if (config_.moe) {
      add_moe(prefix + ".mlp.", part, block, *config_.moe);
    } else {
      add_swiglu(prefix + ".mlp.", part, block, config_.dense_width,
                 {Role::dense_gate, Role::dense_up, Role::dense_down});
    }
  }

  void add_attention(const std::string& prefix, Part part, int64_t block) {
    const AttentionConfig& a = config_.attention;
    const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
    const auto in = [&](const char* name, int64_t out, Role role) {
      add_linear({.module = prefix + name,
                  .shape = {out, config_.hidden},
                  .role = role,
                  .part = part,
                  .block = block,
                  .input = "mixer",
                  .shard = ShardAxis::outputs,
                  .runtime_group = prefix + "qkv_proj"});
    };
    in("q_proj", 2 * query_width, Role::q_proj);
    in("k_proj", kv_width, Role::k_proj);
    in("v_proj", kv_width, Role::v_proj);
    add_norm(prefix + "q_norm", Role::q_norm, part, block, a.head_dim);
    add_norm(prefix + "k_norm", Role::k_norm, part, block, a.head_dim);
    add_linear({.module = prefix + "o_proj",
                .shape = {config_.hidden, query_width},
                .role = Role::o_proj,
                .part = part,
                .block = block,
                .input = "mixer out",
                .shard = ShardAxis::inputs});
  }

  void add_delta_net(const std::string& prefix, Part part, int64_t block) {
    const DeltaNetConfig& d = config_.delta_net;
    const auto in = [&](const char* name, int64_t out, Role role, const char* group) {
      add_linear({.module = prefix + name,
                  .shape = {out, config_.hidden},
                  .role = role,
                  .part = part,
                  .block = block,
                  .input = "mixer",
                  .shard = ShardAxis::outputs,
                  .runtime_group = prefix + group});
    };
    in("in_proj_qkv", d.conv_channels(), Role::in_proj_qkv, "in_proj_qkvz");
    in("in_proj_z", d.value_width(), Role::in_proj_z, "in_proj_qkvz");
    in("in_proj_b", d.value_heads, Role::in_proj_b, "in_proj_ba");
    in("in_proj_a", d.value_heads, Role::in_proj_a, "in_proj_ba");
    const auto other = [&](const char* name, Shape shape, Role role) {
      add_tensor({.tensor = prefix + name,
                  .shape = std::move(shape),
                  .role = role,
                  .part = part,
                  .block = block});
    };
    other("conv1d.weight", {d.conv_channels(), 1, d.conv_taps}, Role::conv1d);
    other("A_log", {d.value_heads}, Role::a_log);
    other("dt_bias", {d.value_heads}, Role::dt_bias);
    other("norm.weight", {d.value_dim}, Role::delta_net_norm);
    add_linear({.module = prefix + "out_proj",
                .shape = {config_.hidden, d.value_width()},
                .role = Role::out_proj,
                .part = part,
                .block = block,
                .input = "mixer out",
                .shard = ShardAxis::inputs});
  }

  void add_moe(const std::string& prefix, Part part, int64_t block, const MoeConfig& moe) {
    add_linear({.module = prefix + "gate",
                .shape = {moe.experts, config_.hidden},
                .role = Role::router,
                .part = part,
                .block = block,
                .input = "ffn"});
    const std::string experts = prefix + "experts";
    const int64_t width = moe.expert_width;
    table_.fused_.push_back(
        {experts + ".gate_up_proj", {moe.experts, 2 * width, config_.hidden}, part, block});
    table_.fused_.push_back(
        {experts + ".down_proj", {moe.experts, config_.hidden, width}, part, block});
    for (int64_t expert = 0; expert < moe.experts; ++expert) {
      const std::string module = fmt::format("{}.{}.", experts, expert);
      const std::string hidden = fmt::format("expert {} hidden", expert);
      const auto in = [&](const char* name, Role role, int64_t row) {
        add_linear({.module = module + name,
                    .shape = {width, config_.hidden},
                    .role = role,
                    .part = part,
                    .block = block,
                    .expert = expert,
                    .fused_tensor = experts + ".gate_up_proj",
                    .fused_row = row,
                    .input = "ffn",
                    .shard = ShardAxis::outputs,
                    .runtime_group = experts});
      };
      in("gate_proj", Role::expert_gate, 0);
      in("up_proj", Role::expert_up, width);
      add_linear({.module = module + "down_proj",
                  .shape = {config_.hidden, width},
                  .role = Role::expert_down,
                  .part = part,
                  .block = block,
                  .expert = expert,
                  .fused_tensor = experts + ".down_proj",
                  .fused_row = 0,
                  .input = hidden,
                  .shard = ShardAxis::inputs,
                  .runtime_group = experts});
    }
    add_swiglu(prefix + "shared_expert.", part, block, moe.shared_width,
               {Role::shared_gate, Role::shared_up, Role::shared_down});
    add_linear({.module = prefix + "shared_expert_gate",
                .shape = {1, config_.hidden},
                .role = Role::shared_expert_gate,
                .part = part,
                .block = block,
                .input = "ffn"});
  }

  struct SwigluRoles {
    Role gate, up, down;
  };
  void add_swiglu(const std::string& prefix, Part part, int64_t block, int64_t width,
                  SwigluRoles roles) {
    const auto in = [&](const char* name, Role role) {
      add_linear({.module = prefix + name,
                  .shape = {width, config_.hidden},
                  .role = role,
                  .part = part,
                  .block = block,
                  .input = "ffn",
                  .shard = ShardAxis::outputs,
                  .runtime_group = prefix + "gate_up_proj"});
    };
    in("gate_proj", roles.gate);
    in("up_proj", roles.up);
    add_linear({.module = prefix + "down_proj",
                .shape = {config_.hidden, width},
                .role = roles.down,
                .part = part,
                .block = block,
                .input = "shared hidden",
                .shard = ShardAxis::inputs});
  }

  void add_mtp() {
    const int64_t h = config_.hidden;
    add_norm("mtp.pre_fc_norm_embedding", Role::mtp_embedding_norm, Part::mtp, -1, h);
    add_norm("mtp.pre_fc_norm_hidden", Role::mtp_hidden_norm, Part::mtp, -1, h);
    add_linear({.module = "mtp.fc",
                .shape = {h, 2 * h},
                .role = Role::mtp_fc,
                .part = Part::mtp,
                .input = "mtp"});
    for (int64_t layer = 0; layer < config_.mtp_layers; ++layer) {
      add_block(fmt::format("mtp.layers.{}", layer), Part::mtp, layer, MixerKind::attention);
    }
    add_norm("mtp.norm", Role::final_norm, Part::mtp, -1, h);
  }

  void add_visual(const VisionConfig& v) {
    const std::string root = "model.visual.";
    const auto other = [&](const std::string& name, Shape shape, int64_t block) {
      add_tensor({.module = root + name,
                  .tensor = root + name,
                  .shape = std::move(shape),
                  .role = Role::visual_other,
                  .part = Part::visual,
                  .block = block});
    };
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, int64_t block) {
      add_linear({.module = root + name,
                  .shape = {out, in},
                  .role = Role::visual_linear,
                  .part = Part::visual,
                  .block = block});
      other(name + ".bias", {out}, block);
    };
    const auto norm = [&](const std::string& name, int64_t width, int64_t block) {
      other(name + ".weight", {width}, block);
      other(name + ".bias", {width}, block);
    };
    other("patch_embed.proj.weight", {v.hidden, v.channels, v.temporal_patch, v.patch, v.patch},
          -1);
    other("patch_embed.proj.bias", {v.hidden}, -1);
    other("pos_embed.weight", {v.positions, v.hidden}, -1);
    for (int64_t block = 0; block < v.depth; ++block) {
      const std::string prefix = fmt::format("blocks.{}.", block);
      norm(prefix + "norm1", v.hidden, block);
      norm(prefix + "norm2", v.hidden, block);
      linear(prefix + "attn.qkv", 3 * v.hidden, v.hidden, block);
      linear(prefix + "attn.proj", v.hidden, v.hidden, block);
      linear(prefix + "mlp.linear_fc1", v.intermediate, v.hidden, block);
      linear(prefix + "mlp.linear_fc2", v.hidden, v.intermediate, block);
    }
    const int64_t merged = v.hidden * v.merge * v.merge;
    norm("merger.norm", v.hidden, -1);
    linear("merger.linear_fc1", merged, merged, -1);
    linear("merger.linear_fc2", v.out_hidden, merged, -1);
  }

  void index() {
    for (size_t i = 0; i < table_.parameters_.size(); ++i) {
      const Parameter& p = table_.parameters_[i];
      if (p.part != Part::visual)
        table_.by_role_.emplace(std::tuple(p.part, p.block, p.role, p.expert), i);
      table_.by_module_.emplace(p.module, i);
      table_.by_tensor_.emplace(p.tensor, i);
    }
  }

  const ModelConfig& config_;
  TensorTable table_;
};

TensorTable TensorTable::of(const ModelConfig& config) { return TableBuilder(config).build(); }

const Parameter* TensorTable::find(Part part, int64_t block, Role role, int64_t expert) const {
  const auto found = by_role_.find(std::tuple(part, block, role, expert));
  return found == by_role_.end() ? nullptr : &parameters_[found->second];
}

const Parameter* TensorTable::find_module(std::string_view module) const {
  const auto found = by_module_.find(module);
  return found == by_module_.end() ? nullptr : &parameters_[found->second];
}

const Parameter* TensorTable::find_tensor(std::string_view tensor) const {
  const auto found = by_tensor_.find(tensor);
  return found == by_tensor_.end() ? nullptr : &parameters_[found->second];
}

std::string TensorTable::block_prefix(Part part) const {
  switch (part) {
    case Part::text:
      return text_blocks_;
    case Part::mtp:
      return "mtp.layers";
    case Part::visual:
      return "model.visual.blocks";
  }
  return "";
}

}  // namespace qround
