// Damages of config.json and of what stands beside it.
#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

using Damaged = DamagedCheckpoint;
using Rules = std::set<std::string>;

// Rules that speak when servers refuse the values at start.
Rules refused(Rules more) {
  more.merge(Rules{"resolution-vllm-old", "resolution-vllm", "resolution-sglang"});
  return more;
}
Rules refused_everywhere(Rules more) {
  more.insert("resolution-transformers");
  return refused(std::move(more));
}

std::function<void(Damaged&)> set(const char* key, Json value) {
  return [=](Damaged& d) {
    d.quantization().set(key, value);
    d.save_config();
  };
}
std::function<void(Damaged&)> erase(const char* key) {
  return [=](Damaged& d) {
    d.quantization().as_object().erase(key);
    d.save_config();
  };
}
std::function<void(Damaged&)> write(const char* file, const char* text) {
  return [=](Damaged& d) { d.put_file(file, text); };
}

// Makes the companion differ from config.json.
void change_companion(Damaged& d, const std::function<void(Json&)>& change) {
  Json companion = d.quantization();
  change(companion);
  d.put_file("quantization_config.json", companion.dump());
}

const bool kAdded = add_damages(
    "config",
    {
        {"quantization_config is missing", refused_everywhere({"config-values"}),
         [](Damaged& d) {
           d.config.as_object().erase("quantization_config");
           d.save_config();
         }},
        {"another method", refused_everywhere({"config-values"}), set("quant_method", "autoround")},
        {"8 bits", refused_everywhere({"config-values"}), set("bits", 8)},
        {"bits as text", refused({"config-values"}), set("bits", "4")},
        {"no group size", refused({"config-values"}), erase("group_size")},
        {"groups of 100", {"config-values", "shapes", "int4-sides"}, set("group_size", 100)},
        {"groups of 64, stored with 128", {"shapes"}, set("group_size", 64)},
        {"asymmetric", refused({"config-values"}), set("sym", false)},
        {"sym is missing", refused({"config-values"}), erase("sym")},
        {"another data type", refused({"config-values"}), set("data_type", "nf4")},
        {"another backend", refused({"config-values"}), set("backend", "cutlass")},
        {"packing_format is missing", {"packing-format"}, erase("packing_format")},
        {"another packing format", refused({"packing-format"}),
         set("packing_format", "auto_round:gptq")},
        {"quantize_config.json was left behind",
         {"foreign-config"},
         write("quantize_config.json", "{}")},
        {"hf_quant_config.json was left behind",
         {"foreign-config"},
         write("hf_quant_config.json", "{}")},
        {"two files end in quantization_config.json",
         {"foreign-config"},
         write("old_quantization_config.json", "{}")},
        {"quantization_config.json is missing",
         {"configs-equal"},
         [](Damaged& d) { fs::remove(d / "quantization_config.json"); }},
        {"quantization_config.json says more",
         {"configs-equal"},
         [](Damaged& d) { change_companion(d, [](Json& c) { c.set("nsamples", 128); }); }},
        {"quantization_config.json has another group size",
         {"configs-equal", "configs-resolve-alike"},
         [](Damaged& d) { change_companion(d, [](Json& c) { c.set("group_size", 32); }); }},
        {"quantization_config.json keeps nothing",
         {"configs-equal", "configs-resolve-alike"},
         [](Damaged& d) {
           change_companion(d, [](Json& c) { c.as_object().erase("extra_config"); });
         }},
        {"dtype is float16",
         {"model-dtype"},
         [](Damaged& d) {
           d.config.set("dtype", "float16");
           d.save_config();
         }},
        {"the MTP head is not counted",
         {"mtp-config", "expression-anchored"},
         [](Damaged& d) {
           d.text_config().set("mtp_num_hidden_layers", 0);
           d.save_config();
         }},
        {"a text-only repack",
         {"text-only"},
         [](Damaged& d) {
           Json text = d.text_config();
           text.set("architectures", Json::array({"Qwen3_5MoeForCausalLM"}));
           Json quantization = d.quantization();
           quantization.set("block_name_to_quantize", "model.layers");
           JsonObject keys;
           for (const auto& [key, value] : d.overrides()) {
             const bool long_name = key.starts_with("model.language_model.");
             keys.set(long_name ? "model." + key.substr(21) : key, value);
           }
           quantization.set("extra_config", Json(std::move(keys)));
           text.set("quantization_config", quantization);
           d.config = text;
           d.save_config();
           d.erase_tensors("model.visual.");
           std::map<std::string, StoredTensor> renamed;
           for (auto& [name, tensor] : d.tensors) {
             const bool long_name = name.starts_with("model.language_model.");
             renamed.emplace(long_name ? "model." + name.substr(21) : name, std::move(tensor));
           }
           d.tensors = std::move(renamed);
           d.save_tensors();
         },
         false},
    });

}  // namespace

TEST_F(DamageCorpus, OfConfigurations) { check("config"); }

}  // namespace qround::verify
