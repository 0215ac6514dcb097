// Damages of the names in quantization_config.
#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

using Damaged = DamagedCheckpoint;

const Json kKept = Json::object({{"bits", 16}, {"data_type", "fp"}});
const std::string kBa = kLayer + "linear_attn.in_proj_";
const char* const kBlocks = "model.language_model.layers";

std::function<void(Damaged&)> blocks(const char* value) {
  return [=](Damaged& d) {
    d.quantization().set("block_name_to_quantize", value);
    d.save_config();
  };
}
std::function<void(Damaged&)> override_with(const std::string& key, Json value) {
  return [=](Damaged& d) {
    d.overrides().set(key, value);
    d.save_config();
  };
}
void forget_mtp(Damaged& d) {
  d.overrides().erase(".*mtp.*");
  d.quantization().as_object().erase("dynamic");
}
void for_expert_keys(Damaged& d, const std::function<void(const std::string&)>& visit) {
  for (const auto& [name, tensor] : d.tensors) {
    if (name.starts_with(kLayer + "mlp.experts.") && name.ends_with(".qweight"))
      visit(name.substr(0, name.size() - 8));
  }
}

const bool kAdded = add_damages(
    "names",
    {
        {"the block list is missing",
         {"block-names", "resolution-vllm-old", "resolution-vllm", "resolution-transformers"},
         [](Damaged& d) {
           d.quantization().as_object().erase("block_name_to_quantize");
           d.save_config();
         }},
        {"the block list is missing, and the MTP head is not named",
         {"block-names", "resolution-vllm-old", "resolution-vllm", "resolution-sglang",
          "resolution-transformers"},
         [](Damaged& d) {
           d.quantization().as_object().erase("block_name_to_quantize");
           forget_mtp(d);
           d.save_config();
         }},
        {"a space in the block list",
         {"block-names"},
         blocks("model.language_model.layers, model.more")},
        {"an empty element in the block list",
         {"block-names", "resolution-vllm-old", "resolution-vllm", "resolution-sglang",
          "resolution-transformers"},
         blocks("model.language_model.layers,")},
        {"a block list that takes in the vision tower",
         {"block-names", "resolution-vllm-old", "resolution-vllm", "resolution-transformers"},
         blocks("model.language_model.layers,model.visual.blocks")},
        {"a block list that takes in the vision tower, under a name that vLLM does not know",
         {"block-names", "resolution-transformers"},
         blocks("model.language_model.layers,model.visual")},
        {"a block that does not exist",
         {"block-names"},
         blocks("model.language_model.layers,model.language_model.layerz")},
        {"vLLM's names in the block list",
         {"block-names", "resolution-sglang", "resolution-transformers"},
         blocks("language_model.model.layers")},
        {"a kept MTP head in the block list",
         {"block-names-mtp"},
         blocks("model.language_model.layers,mtp.layers")},
        {"a kept MTP head in the block list and nowhere exempted",
         {"block-names-mtp", "resolution-vllm-old", "resolution-vllm", "resolution-sglang"},
         [](Damaged& d) {
           forget_mtp(d);
           blocks("model.language_model.layers,mtp.layers")(d);
         }},
        {"an entry without bits",
         {"override-bits"},
         override_with(kLayer + "mlp.gate", Json::object({{"data_type", "fp"}}))},
        {"an entry with 8 bits",
         {"override-bits", "override-module"},
         override_with(kLayer + "mlp.gate", Json::object({{"bits", 8}}))},
        {"an entry that says too much",
         {"override-settings"},
         override_with(kBa + "a", Json::object({{"bits", 16}, {"group_size", -1}}))},
        {"an entry that says too much, without the fused name",
         {"override-settings", "fused-name", "resolution-vllm-old", "resolution-vllm",
          "resolution-sglang"},
         [](Damaged& d) {
           d.overrides().erase(kBa + "ba");
           override_with(kBa + "a", Json::object({{"bits", 16}, {"group_size", -1}}))(d);
         }},
        {"an entry that quantizes nothing",
         {"override-module", "unknown-key", "resolution-transformers"},
         override_with(kText + "9.self_attn.q_proj", Json::object({{"bits", 4}}))},
        {"an expression that does not compile",
         {"expression-compiles"},
         override_with("*bad(", kKept)},
        {"an expression that SGLang does not match",
         {"expression-whole"},
         [](Damaged& d) {
           d.overrides().erase(".*mtp.*");
           override_with(".*mtp", kKept)(d);
         }},
        {"an expression that spells out the prefix",
         {"expression-anchored"},
         override_with("model\\.language_model\\.layers\\.0\\.mlp\\.gate$", kKept)},
        {"an expression for nothing", {"expression-anchored"}, override_with(".*lora.*", kKept)},
        {"a short key", {"unknown-key"}, override_with("linear_attn.in_proj_a", kKept)},
        {"a short key that keeps what is int4",
         {"unknown-key", "resolution-vllm", "resolution-transformers"},
         override_with("linear_attn.out_proj", kKept)},
        {"in_proj_ba is not listed",
         {"fused-name"},
         [](Damaged& d) {
           for (const char* layer : {"0", "1", "2"})
             d.overrides().erase(kText + layer + ".linear_attn.in_proj_ba");
           d.save_config();
         }},
        {"in_proj_b is not listed",
         {"fused-shards", "resolution-transformers"},
         [](Damaged& d) {
           d.overrides().erase(kBa + "b");
           d.save_config();
         }},
        {"only in_proj_a is listed",
         {"fused-shards", "resolution-vllm-old", "resolution-vllm", "resolution-sglang",
          "resolution-transformers"},
         [](Damaged& d) {
           d.overrides().erase(kBa + "b");
           d.overrides().erase(kBa + "ba");
           d.save_config();
         }},
        {"a kept module is not listed at all",
         {"resolution-vllm-old", "resolution-vllm", "resolution-sglang", "resolution-transformers"},
         [](Damaged& d) {
           for (const char* part : {"a", "b", "ba"}) d.overrides().erase(kBa + part);
           d.save_config();
         }},
        {"qkv and z are listed without their fused name",
         {"fused-name", "resolution-vllm-old"},
         [](Damaged& d) {
           const Checkpoint source = Checkpoint::open(quant::pocket());
           for (const char* part : {"qkv", "z"}) {
             d.make_dense(kBa + part, source.view(kBa + part + ".weight"));
             d.overrides().set(kBa + part, kKept);
           }
           d.save_tensors();
           d.save_config();
         }},
        {"one expert is named alone",
         {"expert-keys", "resolution-vllm-old", "resolution-sglang", "resolution-transformers"},
         override_with(kExpert, kKept)},
        {"experts of a layer are named with unequal bits",
         {"expert-keys", "resolution-vllm-old", "resolution-sglang", "resolution-transformers"},
         [](Damaged& d) {
           bool first = true;
           for_expert_keys(d, [&](const std::string& module) {
             d.overrides().set(module, Json::object({{"bits", first ? 16 : 4}}));
             first = false;
           });
           d.save_config();
         }},
        {"all experts of a layer are named",
         {"expert-keys-complete"},
         [](Damaged& d) {
           for_expert_keys(d, [&](const std::string& module) {
             d.overrides().set(module, Json::object({{"bits", 4}}));
           });
           d.save_config();
         }},
    });

}  // namespace

TEST_F(DamageCorpus, OfNames) { check("names"); }

}  // namespace qround::verify
