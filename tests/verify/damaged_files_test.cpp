// Damages of files and of the index.
#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

using Damaged = DamagedCheckpoint;

// Moves the MTP head into a shard of its own, which the index does or does not name.
void split_off_mtp(Damaged& damaged, const char* file, bool indexed) {
  std::map<std::string, StoredTensor> mtp;
  for (const auto& [name, tensor] : damaged.tensors) {
    if (name.starts_with("mtp.")) mtp.emplace(name, tensor);
  }
  damaged.erase_tensors("mtp.");
  damaged.save_tensors();
  std::vector<std::pair<std::string, TensorView>> views;
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : mtp) {
    views.emplace_back(name, tensor.view());
    bytes += tensor.bytes.size();
  }
  damaged.put_shard(file, views);
  if (!indexed) return;
  damaged.change_index([&](Json& index) {
    Json& map = *index.as_object().find("weight_map");
    for (const auto& [name, tensor] : mtp) map.set(name, file);
    Json& total = *index.as_object().find("metadata")->as_object().find("total_size");
    total = Json(static_cast<uint64_t>(total.as_int()) + bytes);
  });
}

const bool kAdded = add_damages(
    "files",
    {
        {"nothing", {}, [](Damaged&) {}},
        {"a shard is missing", {"opens"}, [](Damaged& d) { fs::remove(d / Damaged::kShard); }},
        {"a shard is cut off",
         {"opens"},
         [](Damaged& d) {
           const fs::path shard = d.own_shard();
           fs::resize_file(shard, fs::file_size(shard) - 64);
         }},
        {"a shard goes on",
         {"opens"},
         [](Damaged& d) {
           const fs::path shard = d.own_shard();
           fs::resize_file(shard, fs::file_size(shard) + 64);
         }},
        {"a shard is empty", {"opens"}, [](Damaged& d) { fs::resize_file(d.own_shard(), 0); }},
        {"a header is no JSON",
         {"opens"},
         [](Damaged& d) { quant::overwrite(d.own_shard(), 8, "nonsense"); }},
        {"a shard cannot be read as a file",
         {"opens"},
         [](Damaged& d) {
           fs::remove(d / Damaged::kShard);
           fs::create_directory(d / Damaged::kShard);
         }},
        {"config.json is missing", {"opens"}, [](Damaged& d) { fs::remove(d / "config.json"); }},
        {"config.json is cut off",
         {"opens"},
         [](Damaged& d) { fs::resize_file(d / "config.json", 100); }},
        {"the index is no JSON", {"opens"}, [](Damaged& d) { d.put_file(kIndexFileName, "{"); }},
        {"the index names a tensor that is nowhere",
         {"opens"},
         [](Damaged& d) {
           d.change_index([](Json& index) {
             index.as_object().find("weight_map")->set("ghost", Damaged::kShard);
           });
         }},
        {"config.json names an unknown architecture",
         {"architecture"},
         [](Damaged& d) {
           d.config.set("architectures", Json::array({"LlamaForCausalLM"}));
           d.config.set("model_type", "llama");
           d.save_config();
         }},
        {"config.json lacks a size",
         {"architecture"},
         [](Damaged& d) {
           d.text_config().as_object().erase("hidden_size");
           d.save_config();
         }},
        {"the index does not list a tensor",
         {"index"},
         [](Damaged& d) {
           d.change_index([](Json& index) {
             index.as_object().find("weight_map")->as_object().erase("lm_head.weight");
           });
         }},
        {"the shard of the MTP head is not in the index",
         {"index", "mtp-complete"},
         [](Damaged& d) { split_off_mtp(d, "model-mtp.safetensors", false); }},
        {"total_size is 0",
         {"total-size"},
         [](Damaged& d) {
           d.change_index(
               [](Json& index) { index.set("metadata", Json::object({{"total_size", 0}})); });
         }},
        {"a shard's name does not begin with model",
         {"shard-names"},
         [](Damaged& d) { split_off_mtp(d, "extra_tensors.safetensors", true); }},
    });

}  // namespace

TEST_F(DamageCorpus, OfFiles) { check("files"); }

}  // namespace qround::verify
