// Damages of the set of tensors, of their types and shapes.
#include "model/stored_parameter.h"
#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

using Damaged = DamagedCheckpoint;
using Rules = std::set<std::string>;

const Json kKept = Json::object({{"bits", 16}, {"data_type", "fp"}});

std::function<void(Damaged&)> tensors(const std::function<void(Damaged&)>& change) {
  return [=](Damaged& d) {
    change(d);
    d.save_tensors();
  };
}

Rules everywhere(Rules more) {
  more.merge(Rules{"resolution-vllm-old", "resolution-vllm", "resolution-sglang",
                   "resolution-transformers"});
  return more;
}

void forget(Damaged& d, const std::string& part) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : d.overrides()) {
    if (key.find(part) != std::string::npos) keys.push_back(key);
  }
  for (const std::string& key : keys) d.overrides().erase(key);
}

// An int4 MTP head as auto-round makes by default, here with the zeros of the other convention.
void quantize_mtp(Damaged& d) {
  const Checkpoint source = Checkpoint::open(quant::pocket());
  const TensorTable table =
      TensorTable::of(parse_model_config(source.config(), source.path() / "config.json"));
  const auto zeros = static_cast<int32_t>(0x88888888);
  for (const Parameter& p : table.parameters()) {
    if (p.part != Part::mtp || p.block < 0 || !is_linear(p.role) || p.role == Role::router ||
        p.role == Role::shared_expert_gate) {
      continue;
    }
    const auto weight = std::get<TensorView>(find_stored(source, p));
    d.make_int4(p.module, copy_of(weight), zeros);
  }
  d.erase_tensors("mtp.layers.0.mlp.experts.gate_up_proj");
  d.erase_tensors("mtp.layers.0.mlp.experts.down_proj");
  d.overrides().erase(".*mtp.*");
  d.quantization().as_object().erase("dynamic");
  d.quantization().set("block_name_to_quantize",
                       Json::array({"model.language_model.layers", "mtp.layers"}));
}

const bool kAdded = add_damages(
    "tensors",
    {
        {"the MTP head was dropped", {"mtp-complete"}, tensors([](Damaged& d) {
           d.erase_tensors("mtp.");
         })},
        {"the MTP head is half there", {"mtp-complete"}, tensors([](Damaged& d) {
           d.erase_tensors("mtp.layers.0.self_attn");
         })},
        {"mtp.fc is missing", {"mtp-complete"}, tensors([](Damaged& d) {
           d.erase_tensors("mtp.fc");
         })},
        {"experts of the MTP head are stored in two forms",
         {"mtp-complete"},
         tensors([](Damaged& d) {
           const StoredTensor& fused = d.tensors.at("mtp.layers.0.mlp.experts.down_proj");
           d.tensors["mtp.layers.0.mlp.experts.0.down_proj.weight"] =
               copy_of(fused.view().slice(0));
         })},
        {"the MTP head was rounded, with zeros of 8",
         {"mtp-int4", "zeros"},
         [](Damaged& d) {
           quantize_mtp(d);
           d.save_tensors();
           d.save_config();
         }},
        {"an expert is missing", {"tensor-set"}, tensors([](Damaged& d) {
           d.erase_tensors(kExpert);
         })},
        {"scales are missing", {"tensor-set"}, tensors([](Damaged& d) {
           d.erase_tensors(kExpert + ".scales");
         })},
        {"qzeros are missing", {"tensor-set"}, tensors([](Damaged& d) {
           d.erase_tensors(kExpert + ".qzeros");
         })},
        {"a norm is missing", {"tensor-set"}, tensors([](Damaged& d) {
           d.erase_tensors(kLayer + "input_layernorm");
         })},
        {"a weight is stored twice", {"tensor-set"}, tensors([](Damaged& d) {
           const Checkpoint source = Checkpoint::open(quant::pocket());
           d.tensors[kSquare + ".weight"] = copy_of(source.view(kSquare + ".weight"));
         })},
        {"a tensor nobody knows", {"unknown-tensors"}, tensors([](Damaged& d) {
           d.tensors["model.language_model.rotary.inv_freq"] =
               d.tensors.at("model.language_model.norm.weight");
         })},
        {"a router was quantized", everywhere({"never-int4", "int4-sides"}),
         tensors([](Damaged& d) { d.make_int4(kLayer + "mlp.gate"); })},
        {"lm_head was quantized", everywhere({"never-int4"}),
         tensors([](Damaged& d) { d.make_int4("lm_head"); })},
        {"a map of the vision tower was quantized", everywhere({"never-int4", "int4-sides"}),
         tensors([](Damaged& d) { d.make_int4("model.visual.blocks.0.mlp.linear_fc1"); })},
        {"in_proj_a and in_proj_b were quantized",
         {"ba-int4", "int4-sides"},
         [](Damaged& d) {
           for (const char* layer : {"0", "1", "2"}) {
             d.make_int4(kText + layer + ".linear_attn.in_proj_a");
             d.make_int4(kText + layer + ".linear_attn.in_proj_b");
           }
           forget(d, "in_proj_");
           d.save_tensors();
           d.save_config();
         }},
        {"k_proj is kept, q_proj and v_proj are not",
         {"fused-alike", "fused-shards", "resolution-vllm-old", "resolution-vllm",
          "resolution-sglang"},
         [](Damaged& d) {
           const Checkpoint source = Checkpoint::open(quant::pocket());
           d.make_dense(kAttention + "k_proj", source.view(kAttention + "k_proj.weight"));
           d.overrides().set(kAttention + "k_proj", kKept);
           d.save_tensors();
           d.save_config();
         }},
        {"one map of an expert is kept", everywhere({"fused-alike"}), tensors([](Damaged& d) {
           const Checkpoint source = Checkpoint::open(quant::pocket());
           const std::string fused = kLayer + "mlp.experts.gate_up_proj";
           d.make_dense(kExpert, source.view(fused).slice(4).rows(128, 256));
         })},
        {"qweight has another type", {"int4-dtypes"}, tensors([](Damaged& d) {
           d.tensors.at(kExpert + ".qweight").dtype = DType::f32;
         })},
        {"scales are BF16", {"scale-dtype"}, tensors([](Damaged& d) {
           StoredTensor& scales = d.tensors.at(kExpert + ".scales");
           for (int64_t i = 0; i < scales.view().count(); ++i) {
             uint16_t& scale = scales.as<uint16_t>()[i];
             scale = f32_to_bf16(f16_to_f32(scale));
           }
           scales.dtype = DType::bf16;
         })},
        {"a kept tensor has another type", {"kept-dtype"}, tensors([](Damaged& d) {
           d.tensors.at("lm_head.weight").dtype = DType::f16;
         })},
        {"a kept tensor has another shape", {"shapes"}, tensors([](Damaged& d) {
           d.tensors.at("lm_head.weight").shape = {256, 1408};
         })},
        {"an expert's inputs and outputs are swapped", {"shapes"}, tensors([](Damaged& d) {
           d.tensors.at(kExpert + ".qweight").shape = {16, 256};
           d.tensors.at(kExpert + ".scales").shape = {1, 256};
           d.tensors.at(kExpert + ".qzeros").shape = {1, 32};
           for (const char* suffix : {".scales", ".qzeros"}) {
             StoredTensor& tensor = d.tensors.at(kExpert + suffix);
             tensor.bytes.resize(tensor.view().bytes());
           }
         })},
        {"an int4 map has g_idx", {"group-index"}, tensors([](Damaged& d) {
           StoredTensor index{DType::i32, {256}, std::vector<std::byte>(1024)};
           for (int32_t k = 0; k < 256; ++k) index.as<int32_t>()[k] = k / 128;
           d.tensors[kExpert + ".g_idx"] = index;
         })},
        {"an int4 map has its inputs in another order",
         {"group-index", "group-order"},
         tensors([](Damaged& d) {
           StoredTensor index{DType::i32, {256}, std::vector<std::byte>(1024)};
           for (int32_t k = 0; k < 256; ++k) index.as<int32_t>()[k] = k % 2;
           d.tensors[kExpert + ".g_idx"] = index;
         }),
         false},
    });

}  // namespace

TEST_F(DamageCorpus, OfTensors) { check("tensors"); }

}  // namespace qround::verify
