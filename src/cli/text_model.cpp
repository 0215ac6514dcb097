#include "cli/text_model.h"

#include "base/error.h"

namespace qround {
namespace {

void add_ids(const Json* value, std::vector<int32_t>& ids) {
  if (value == nullptr) return;
  if (value->is_int()) ids.push_back(static_cast<int32_t>(value->as_int()));
  if (!value->is_array()) return;
  for (const Json& id : value->as_array()) ids.push_back(static_cast<int32_t>(id.as_int()));
}

std::vector<int32_t> eos_tokens(const Json& generation_config, const Json& config) {
  std::vector<int32_t> ids;
  add_ids(generation_config.find("eos_token_id"), ids);
  if (!ids.empty()) return ids;
  const Json* text = config.find("text_config");
  add_ids((text == nullptr ? config : *text).find("eos_token_id"), ids);
  return ids;
}

}  // namespace

Model load_model(const std::filesystem::path& directory, const ComputeOptions& compute) {
  const ops::Memory& memory =
      *compute.table().memory;  // a bad name is told before anything is read
  Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory)));
  if (compute.int8_copies && !memory.is_host)
    throw Error("int8 copies are for backends in host memory")
        .expected("--backend cpu, or no --int8-copies")
        .actual("--backend " + compute.backend);
  if (compute.int8_copies) model.use_int8_copies(compute.thread_count());
  if (memory.is_host) return model;
  return model.in(memory, Model::Parts::all, compute.gpu_memory_bytes());
}

TextModel TextModel::load(const std::filesystem::path& directory, const ComputeOptions& compute) {
  Model model = load_model(directory, compute);
  Json generation_config = Json::object();
  const std::filesystem::path path = directory / "generation_config.json";
  if (std::filesystem::exists(path)) generation_config = Json::parse_file(path);
  std::vector<int32_t> stops = eos_tokens(generation_config, model.checkpoint().config());
  return {std::move(model), Tokenizer::load(directory), std::move(generation_config),
          std::move(stops)};
}

}  // namespace qround
