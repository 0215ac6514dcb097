// Every rule: what has to hold, why, where that is known from, and what to do. `source` names
// programs and threads as they were read in November 2026.
#include "verify/rules.h"

namespace qround::verify {
namespace {

constexpr auto kError = Severity::error;
constexpr auto kWarning = Severity::warning;
constexpr auto kNothing = Needs::nothing;
constexpr auto kSource = Needs::source;
constexpr auto kCounts = Needs::tensor_counts;

constexpr Effects kHarmless = {};
constexpr Effects kStops = {Effect::stops, Effect::stops, Effect::stops};
constexpr Effects kCorrupts = {Effect::corrupts, Effect::corrupts, Effect::corrupts};
constexpr Effects kCorruptsServers = {Effect::corrupts, Effect::corrupts, Effect::none};
constexpr Effects kCorruptsTransformers = {Effect::none, Effect::none, Effect::corrupts};

constexpr std::string_view kFix = "qround verify DIR --fix OUT writes it anew.";
constexpr std::string_view kExportAgain = "Export the checkpoint again.";

void check_nothing(const Subject&, Findings&) {}

constexpr Rule kOpeningRules[] = {
    {"opens", kError, "all",
     "config.json, the index and every shard it names are there, whole and well-formed",
     "A reader stops at the first file that is missing, cut off or damaged.",
     "the safetensors format; docs/formats/safetensors.md",
     "Download the files that are named again, or write them again. --fix rebuilds an index.",
     kNothing, kStops, check_nothing},
    {"architecture", kError, "all",
     "config.json describes a network that is known here, completely",
     "Names and shapes of all tensors follow from it; without them nothing can be checked.",
     "transformers' configuration classes of qwen3_5 and qwen3_5_moe",
     "Take config.json from the source checkpoint and add quantization_config.", kNothing, kStops,
     check_nothing},
};

constexpr Rule kRules[] = {
    // --- Configuration
    {"config-values", kError, "vLLM, SGLang, transformers",
     "quantization_config says auto-round (or gptq), 4 bits, symmetric, group size 32, 64 or 128, "
     "data type int, backend auto",
     "Servers refuse other values at start, or choose a kernel for another format.",
     "vLLM 0.33.0 inc.py; SGLang 0.5.23 auto_round.py", kFix, kNothing, kHarmless,
     check_config_values},
    {"packing-format", kError, "transformers", "packing_format is auto_round:auto_gptq",
     "Without it transformers assumes auto_round:gptq, whose zeros have another offset; servers "
     "assume the right one.",
     "transformers 5.23.0 utils/quantization_config.py; vLLM 0.33.0 inc.py", kFix, kNothing,
     kCorruptsTransformers, check_packing_format},
    {"foreign-config", kError, "tools that look for other files",
     "no file besides quantization_config.json describes a quantization",
     "Loaders of other methods take quantize_config.json or hf_quant_config.json for their own, "
     "and "
     "vLLM stops at two files named *quantization_config.json.",
     "vLLM 0.33.0 model_loader/weight_utils.py", "Delete the file; --fix leaves it out.", kNothing,
     kHarmless, check_foreign_configs},
    {"configs-equal", kWarning, "tools that read quantization_config.json",
     "quantization_config.json holds the same object as config.json",
     "Programs read one or the other; vLLM never looks at the second copy, so a stale one stays "
     "unnoticed. auto-round 0.16.1 itself writes two different ones that mean the same.",
     "vLLM 0.33.0 weight_utils.py; auto-round 0.16.1", kFix, kNothing, kHarmless,
     check_configs_equal},
    {"configs-resolve-alike", kError, "tools that read quantization_config.json",
     "both configuration files give every module the same form",
     "A tool that reads the second file loads another network than the servers.",
     "auto-round's own tools and GPTQModel read quantization_config.json", kFix, kNothing,
     kHarmless, check_configs_resolve_alike},
    {"text-only", kWarning, "vLLM before 0.33", "the architecture is the one with a vision tower",
     "Text-only repacks crashed older servers (\"Expected Qwen3_5MoeConfig\").",
     "model cards of text-only repacks; vLLM 0.33.0 accepts them",
     "Keep the source's config.json; users pass --language-model-only.", kNothing, kHarmless,
     check_text_only},
    {"model-dtype", kWarning, "vLLM", "dtype is bfloat16",
     "Served in float16 the network may overflow (\"!!!!\").", "vllm#37996, QwenLM/Qwen3#496",
     "Set dtype to bfloat16 in config.json.", kNothing, kHarmless, check_model_dtype},
    {"mtp-config", kWarning, "vLLM, SGLang",
     "mtp_num_hidden_layers counts the layers of the MTP head that is in the files",
     "Without it no server drafts with the head.", "vLLM 0.33.0 config/speculative.py",
     "Set text_config.mtp_num_hidden_layers.", kNothing, kHarmless, check_mtp_config},
    // --- Names
    {"block-names", kError, "vLLM, SGLang, transformers",
     "block_name_to_quantize is there, names the blocks with int4 maps and nothing else; no "
     "spaces, "
     "no empty element",
     "Without it vLLM builds the vision tower and the MTP head quantized; readers split the text "
     "at "
     "commas and trim nothing.",
     "vLLM 0.33.0 inc/config_parser.py; auto-round 0.16.1 convert_model.py", kFix, kNothing,
     kHarmless, check_block_names},
    {"block-names-mtp", kError, "vLLM, SGLang", "block_name_to_quantize leaves a kept MTP head out",
     "Servers build its layers quantized: the tensors do not fit, and older ones say nothing.",
     "vllm#53387, auto-round#1755; auto-round 0.16.1 utils/missing_tensors.py", kFix, kNothing,
     kHarmless, check_mtp_block_names},
    {"override-bits", kError, "all",
     "every entry of extra_config has bits: 16, or the global value",
     "An entry without bits is 16-bit to vLLM and 4-bit to SGLang and transformers.",
     "vLLM 0.33.0 inc.py; SGLang 0.5.23 auto_round.py", kFix, kNothing, kHarmless,
     check_override_bits},
    {"override-settings", kWarning, "vLLM, SGLang",
     "an entry that keeps a module in 16 bits gives neither group_size nor sym",
     "Settings of fused maps are compared as a whole: one that says more is unequal, and the "
     "server "
     "stops.",
     "vLLM 0.33.0 inc/config_parser.py", kFix, kNothing, kHarmless, check_override_settings},
    {"override-module", kError, "transformers",
     "an entry with fewer than 16 bits names a quantized module",
     "auto-round looks the module up to replace it and stops.",
     "auto-round 0.16.1 convert_model.py", kFix, kNothing, kHarmless, check_override_modules},
    {"expression-compiles", kError, "all", "keys with special characters are regular expressions",
     "Readers skip an invalid one without a word, and the modules it was for are quantized.",
     "vLLM 0.33.0, SGLang 0.5.23, auto-round 0.16.1: all catch re.error", kFix, kNothing, kHarmless,
     check_expressions_compile},
    {"expression-whole", kError, "SGLang", "an expression matches the whole name of a module",
     "vLLM and auto-round search in the name; SGLang wants a full match, so an expression without "
     ".* on both sides keeps nothing there.",
     "SGLang 0.5.23 auto_round.py", "Begin and end the key with .* , or use --fix.", kNothing,
     kHarmless, check_expressions_match_wholly},
    {"expression-anchored", kWarning, "vLLM",
     "every expression matches a module under vLLM's names",
     "vLLM renames model.language_model. to language_model.model.; an expression that spells the "
     "prefix out finds nothing there. auto-round writes such keys for the router, which is "
     "harmless.",
     "vLLM 0.33.0 models/qwen3_vl.py and models/utils.py", "Write .*name.* , or use --fix.",
     kNothing, kHarmless, check_anchored_expressions},
    {"unknown-key", kWarning, "all",
     "every other key is the whole name of a module, or a fused name",
     "Short keys work in vLLM 0.27 and later only, and there only for fused names.",
     "vLLM 0.33.0 inc/config_parser.py", kFix, kNothing, kHarmless, check_unknown_keys},
    {"fused-shards", kError, "vLLM, SGLang",
     "extra_config names all maps of a fused module or none of them",
     "The settings of the maps disagree and the server stops: requires consistent quant config.",
     "vLLM 0.33.0 inc/config_parser.py; auto-round#769", kFix, kNothing, kHarmless,
     check_fused_shards},
    {"fused-name", kWarning, "SGLang before 0.5.10, vLLM up to 0.23",
     "extra_config names a kept fused module also by its fused name (in_proj_ba, gate_up_proj)",
     "Versions without the table of fused names resolve it to int4; with tensor parallel size 2 an "
     "int4 in_proj_ba does not load.",
     "sglang#21234, vllm#35924", kFix, kNothing, kHarmless, check_fused_names},
    {"expert-keys", kError, "vLLM up to 0.21, SGLang",
     "keys of single experts, where there are any, name all experts of the layer with equal bits",
     "One lone key turns the whole layer to 16 bits there, unequal ones stop the server, and newer "
     "vLLM ignores them all.",
     "SGLang 0.5.23 auto_round.py; vLLM 0.19.1 inc.py", kFix, kNothing, kHarmless,
     check_expert_keys},
    {"expert-keys-complete", kWarning, "vLLM 0.22 and later",
     "kept experts are named by the module of all of them, not one by one",
     "vLLM 0.22 and later does not read keys of single experts.",
     "vLLM 0.33.0 inc/config_parser.py", kFix, kNothing, kHarmless, check_complete_expert_keys},
    {"resolution-vllm-old", kError, "vLLM up to 0.24",
     "every module resolves to the form it has in the files, by the rules of vLLM 0.17 to 0.24",
     "Tensors that do not fit are skipped with one warning and the module keeps random weights.",
     "vLLM 0.19.1 and 0.21 to 0.24", kFix, kNothing, kHarmless, check_resolution_old_vllm},
    {"resolution-vllm", kError, "vLLM 0.25 and later",
     "every module resolves to the form it has in the files, by the rules of vLLM 0.25 to 0.33",
     "vLLM stops: there is no module or parameter of that name.", "vLLM 0.25 to 0.33.0", kFix,
     kNothing, kHarmless, check_resolution_vllm},
    {"resolution-sglang", kError, "SGLang",
     "every module resolves to the form it has in the files, by the rules of SGLang 0.5.23",
     "Linear maps that do not fit are skipped with a warning and stay random; experts stop it.",
     "SGLang 0.5.23 auto_round.py and models/qwen3_5.py", kFix, kNothing, kHarmless,
     check_resolution_sglang},
    {"resolution-transformers", kError, "transformers",
     "every Linear resolves to the form it has in the files, by the rules of auto-round 0.16.1",
     "Tensors that do not fit are listed as unexpected and the module stays random.",
     "auto-round 0.16.1 inference/convert_model.py", kFix, kNothing, kHarmless,
     check_resolution_transformers},
    // --- Files and tensors
    {"index", kError, "vLLM, transformers", "the index lists every tensor once, in its shard",
     "vLLM drops every file that the index does not name; its tensors stay random.",
     "vLLM 0.33.0 model_loader/weight_utils.py", "--fix rebuilds the index from the shards.",
     kNothing, kHarmless, check_index},
    {"total-size", kWarning, "tools that trust the index", "total_size is the sum of all tensors",
     "Some tools plan memory with it. auto-round 0.16.1 writes 0.", "auto-round 0.16.1",
     "--fix rebuilds the index from the shards.", kNothing, kHarmless, check_total_size},
    {"shard-names", kWarning, "mlx-lm", "every shard's name begins with \"model\"",
     "mlx-lm loads model*.safetensors only.", "mlx-lm utils.py",
     "Rename the shard and its entries in the index.", kNothing, kHarmless, check_shard_names},
    {"tensor-set", kError, "all",
     "the tensors are those of the network, each weight in one form, with qweight, qzeros and "
     "scales for a quantized one; nothing of the source is missing",
     "Neither server notices a missing tensor by default: its weights stay random.",
     "vLLM 0.33.0 default_loader.py (enable_weights_track), SGLang 0.5.23 loader", kExportAgain,
     kNothing, kCorrupts, check_tensor_set},
    {"unknown-tensors",
     kError,
     "vLLM 0.25 and later",
     "every tensor belongs to the network or to the source",
     "vLLM stops at a name it does not know; SGLang warns.",
     "vLLM 0.25 AutoWeightsLoader",
     kExportAgain,
     kNothing,
     {Effect::stops, Effect::none, Effect::none},
     check_unknown_tensors},
    {"mtp-complete", kError, "vLLM, SGLang",
     "the MTP head that config.json or the source has is there as a whole, its experts in one form",
     "Servers draft with random weights: 0 % of drafts are accepted, without an error.",
     "vllm#37667, auto-round#1755",
     "Copy the mtp tensors of the source and list them in the index.", kNothing, kCorruptsServers,
     check_mtp_complete},
    {"fused-alike", kError, "vLLM, SGLang",
     "maps that engines fuse are all int4 or all kept: q, k, v; gate, up; qkv, z; b, a; all "
     "experts",
     "One module cannot hold both.", "vLLM 0.33.0 models/qwen3_5.py packed_modules_mapping",
     kExportAgain, kNothing, kHarmless, check_fused_alike},
    {"never-int4", kError, "all", "router, shared expert gate, lm_head and vision tower are kept",
     "Engines build them without asking the configuration: KeyError '...gate.qweight', or random "
     "weights.",
     "vllm#17850, auto-round#1462, auto-round#1776", kExportAgain, kNothing, kHarmless,
     check_never_int4},
    {"mtp-int4", kWarning, "vLLM", "the MTP head is kept",
     "An int4 head is reported not to load, and drafts worse.", "vllm#49552, vllm-mlx#471",
     "Keep mtp.* as in the source.", kNothing, kHarmless, check_mtp_int4},
    {"ba-int4", kWarning, "SGLang and vLLM up to 0.21 with tensor parallelism",
     "in_proj_a and in_proj_b are kept",
     "Split among two GPUs they are too narrow for the kernels; transformers may read them one "
     "step off.",
     "vllm#35924, vllm#36329", "Keep them as in the source.", kNothing, kHarmless, check_ba_int4},
    {"int4-dtypes", kError, "all", "qweight and qzeros are I32",
     "Other types do not load, or lose bits on the way.", "docs/formats/gptq_int4.md", kExportAgain,
     kNothing, kStops, check_int4_dtypes},
    {"scale-dtype", kError, "transformers", "scales are F16",
     "Servers convert them; auto-round's kernels have F16 buffers.",
     "auto-round 0.16.1 qlinear_torch_zp.py", kExportAgain, kNothing, kHarmless, check_scale_dtype},
    {"kept-dtype", kError, "all", "kept tensors have the source's type, or a floating one",
     "F32 copies of BF16 weights are converted back without loss, but double the size; other types "
     "lose bits.",
     "auto-round 0.16.1 writes F32 when it ran in F32", kExportAgain, kNothing, kHarmless,
     check_kept_dtype},
    {"shapes", kError, "all", "every tensor has the shape that config.json asks for",
     "Loaders compare shapes before they copy: AssertionError, or size mismatch.",
     "vLLM 0.33.0 parameter.py; docs/formats/gptq_int4.md",
     "Export the checkpoint again; swapped sides mean that inputs and outputs were confused.",
     kNothing, kStops, check_shapes},
    {"int4-sides", kError, "transformers",
     "both sides of an int4 map are multiples of 32, its inputs of the group size",
     "No backend takes it: ValueError: No compatible backend found.",
     "auto-round 0.16.1 inference/backend.py", "Keep such maps in BF16.", kNothing, kHarmless,
     check_int4_sides},
    {"exllama-zero-point", kWarning, "transformers with gptqmodel",
     "int4 maps have a multiple of 64 outputs",
     "Such a map misses gptqmodel's Marlin but not its exllamav2 kernel, which expects zeros of "
     "the "
     "other convention: probably one step off.",
     "auto-round 0.16.1 convert_model.py post_init; not run", "Keep such maps in BF16.", kNothing,
     kHarmless, check_exllama_zero_point},
    {"group-index", kWarning, "vLLM before 0.30, tools", "int4 maps have neither g_idx nor bias",
     "Nothing needs them in a symmetric checkpoint without act-order; some loaders stop.",
     "vLLM 0.30 drops g_idx before loading", kExportAgain, kNothing, kHarmless, check_group_index},
    {"group-order", kError, "vLLM, SGLang, transformers",
     "g_idx, where there is one, puts every input into the group of its place",
     "Loaders of this format drop g_idx: inputs get the scales of other groups.",
     "vLLM 0.33.0 auto_gptq.py (desc_act false)", kExportAgain, kNothing, kCorrupts,
     check_group_order},
    // --- Data
    {"zeros", kError, "transformers, SGLang on a CPU",
     "every word of qzeros is 0x77777777: zero point 8, stored minus one",
     "Fast kernels ignore them, slow ones use them: the same file is right on one machine and "
     "garbage on another.",
     "auto-round 0.16.1 qlinear_torch_zp.py; SGLang 0.5.23 CPU kernels",
     "Write 0x77777777 into all words of qzeros, after checking that codes mean code - 8.",
     kNothing, kCorruptsTransformers, check_zeros},
    {"scales", kError, "all", "every scale is a number between 1e-5 and 1 in magnitude",
     "One that is not a number spreads to every output; zero erases a group.",
     "auto-round 0.16.1 data_type/int.py", kExportAgain, kNothing, kCorrupts, check_scales},
    {"scale-signs", kWarning, "all", "about half of all scales are negative",
     "The side of a group with the larger extreme gets code 0, and the sign shows which. All "
     "positive: another rounding, or signs were lost.",
     "auto-round 0.16.1 data_type/int.py", "Compare with --source.", kNothing, kHarmless,
     check_scale_signs},
    {"codes", kError, "all", "the codes of a map are not all equal",
     "A tensor that was never filled.", "", kExportAgain, kNothing, kCorrupts, check_codes},
    {"kept-finite", kError, "all", "kept tensors hold numbers only",
     "One that is not a number spreads to every output.", "", kExportAgain, kNothing, kCorrupts,
     check_kept_finite},
    {"kept-identical", kError, "all",
     "tensors that are not quantized equal the source's byte for byte",
     "Router, norms, MTP head and vision tower have to be the source's.", "",
     "Copy them from the source.", kSource, kCorrupts, check_kept_identical},
    {"rounding", kError, "all",
     "where codes are the nearest (iters 0), each weight lies within half a scale of the "
     "source's; "
     "at code 7 the source's may be larger, up to the group's extreme",
     "A code that is further away was damaged after rounding.",
     "the full-range symmetric rule of auto-round 0.16.1", kExportAgain, kSource, kCorrupts,
     check_rounding},
    {"relative-error", kError, "all",
     "the dequantized weights are the source's, within 25 % of its norm",
     "Rounding to 4 bits costs 2 to 15 %. More means other weights: nibbles in another order, a "
     "zero "
     "point that is off by one, swapped or transposed maps; the finding says which one fits.",
     "", kExportAgain, kSource, kCorrupts, check_relative_error},
    // --- Tensor parallelism
    {"tp-heads", kError, "vLLM, SGLang", "the heads divide among the GPUs asked for",
     "The server stops with an assertion.", "vLLM 0.33.0 models/qwen3_5.py",
     "Choose another tensor parallel size.", kCounts, kHarmless, check_tp_heads},
    {"tp-groups", kError, "vLLM, SGLang",
     "maps that are split by inputs keep whole groups on every GPU",
     "No kernel takes it, and one on Hopper does not ask.",
     "vLLM 0.33.0 kernels/linear/mixed_precision",
     "Choose another tensor parallel size, or keep the map in BF16.", kCounts, kHarmless,
     check_tp_groups},
    {"tp-tiles", kError, "SGLang, vLLM up to 0.23",
     "every GPU's part of a map is a multiple of 64 outputs and 128 inputs",
     "Marlin's repacking refuses other shapes; vLLM 0.24 and later pads them.",
     "SGLang 0.5.23 marlin_utils.py", "Choose another tensor parallel size.", kCounts, kHarmless,
     check_tp_tiles},
    {"tp-experts", kError, "vLLM, SGLang",
     "a kernel takes every GPU's part of the experts, on smaller groups if need be",
     "The server stops with an assertion.", "vLLM 0.33.0 moe_wna16.py",
     "Choose another tensor parallel size, or --enable-expert-parallel.", kCounts, kHarmless,
     check_tp_experts},
    {"tp-slow", kWarning, "vLLM, SGLang", "Marlin takes every GPU's part of the experts",
     "The server falls back to a slower kernel with smaller groups.", "vLLM 0.33.0 moe_wna16.py",
     "Choose another tensor parallel size, or --enable-expert-parallel.", kCounts, kHarmless,
     check_tp_slow},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

const Rule* find_rule(std::string_view id) {
  for (const std::span<const Rule> table : {std::span<const Rule>(kOpeningRules), rules()}) {
    for (const Rule& rule : table) {
      if (rule.id == id) return &rule;
    }
  }
  return nullptr;
}

const Rule& opens_rule() { return kOpeningRules[0]; }
const Rule& architecture_rule() { return kOpeningRules[1]; }

}  // namespace qround::verify
