// The table of rules, and the functions it points to.
#pragma once

#include <span>

#include "verify/rule.h"

namespace qround::verify {

// In the order they are checked. Those of kOpeningRules are met while the directory is opened.
std::span<const Rule> rules();
const Rule* find_rule(std::string_view id);  // opening rules too; nullptr: none

// Broken by a directory that cannot be opened, and by a config.json that describes no network known
// here; nothing else can be checked then.
const Rule& opens_rule();
const Rule& architecture_rule();

// config_rules.cpp: what config.json and its companions say.
void check_config_values(const Subject& subject, Findings& findings);
void check_packing_format(const Subject& subject, Findings& findings);
void check_foreign_configs(const Subject& subject, Findings& findings);
void check_configs_equal(const Subject& subject, Findings& findings);
void check_configs_resolve_alike(const Subject& subject, Findings& findings);
void check_text_only(const Subject& subject, Findings& findings);
void check_model_dtype(const Subject& subject, Findings& findings);
void check_mtp_config(const Subject& subject, Findings& findings);

// naming_rules.cpp: which modules the config names, and how.
void check_block_names(const Subject& subject, Findings& findings);
void check_mtp_block_names(const Subject& subject, Findings& findings);
void check_override_bits(const Subject& subject, Findings& findings);
void check_override_settings(const Subject& subject, Findings& findings);
void check_override_modules(const Subject& subject, Findings& findings);
void check_expressions_compile(const Subject& subject, Findings& findings);
void check_expressions_match_wholly(const Subject& subject, Findings& findings);
void check_anchored_expressions(const Subject& subject, Findings& findings);
void check_unknown_keys(const Subject& subject, Findings& findings);

// fused_naming_rules.cpp: the same of modules that engines fuse.
void check_fused_shards(const Subject& subject, Findings& findings);
void check_fused_names(const Subject& subject, Findings& findings);
void check_expert_keys(const Subject& subject, Findings& findings);
void check_complete_expert_keys(const Subject& subject, Findings& findings);

// loading_rules.cpp: the simulation of each program's name resolution.
void check_resolution_old_vllm(const Subject& subject, Findings& findings);
void check_resolution_vllm(const Subject& subject, Findings& findings);
void check_resolution_sglang(const Subject& subject, Findings& findings);
void check_resolution_transformers(const Subject& subject, Findings& findings);

// index_rules.cpp: files and index.
void check_index(const Subject& subject, Findings& findings);
void check_total_size(const Subject& subject, Findings& findings);
void check_shard_names(const Subject& subject, Findings& findings);

// tensor_rules.cpp: which tensors there are, from headers alone.
void check_tensor_set(const Subject& subject, Findings& findings);
void check_unknown_tensors(const Subject& subject, Findings& findings);
void check_mtp_complete(const Subject& subject, Findings& findings);
void check_fused_alike(const Subject& subject, Findings& findings);
void check_never_int4(const Subject& subject, Findings& findings);
void check_mtp_int4(const Subject& subject, Findings& findings);
void check_ba_int4(const Subject& subject, Findings& findings);

// shape_rules.cpp: types and shapes, from headers alone.
void check_int4_dtypes(const Subject& subject, Findings& findings);
void check_scale_dtype(const Subject& subject, Findings& findings);
void check_kept_dtype(const Subject& subject, Findings& findings);
void check_shapes(const Subject& subject, Findings& findings);
void check_int4_sides(const Subject& subject, Findings& findings);
void check_exllama_zero_point(const Subject& subject, Findings& findings);

// parallel_rules.cpp: shapes when the model is split among GPUs.
void check_tp_heads(const Subject& subject, Findings& findings);
void check_tp_groups(const Subject& subject, Findings& findings);
void check_tp_tiles(const Subject& subject, Findings& findings);
void check_tp_experts(const Subject& subject, Findings& findings);
void check_tp_slow(const Subject& subject, Findings& findings);

// weight_rules.cpp: what the pass over the tensor data found.
void check_group_index(const Subject& subject, Findings& findings);
void check_group_order(const Subject& subject, Findings& findings);
void check_zeros(const Subject& subject, Findings& findings);
void check_scales(const Subject& subject, Findings& findings);
void check_scale_signs(const Subject& subject, Findings& findings);
void check_codes(const Subject& subject, Findings& findings);
void check_kept_finite(const Subject& subject, Findings& findings);
void check_kept_identical(const Subject& subject, Findings& findings);
void check_rounding(const Subject& subject, Findings& findings);
void check_relative_error(const Subject& subject, Findings& findings);

}  // namespace qround::verify
