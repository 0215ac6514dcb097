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

Model load_model(const std::filesystem::path& directory, const ComputeOptions& options) {
  Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory)));
  if (options.int8_copies) model.use_int8_copies(options.thread_count());
  return model;
}

TextModel TextModel::load(const std::filesystem::path& directory, const ComputeOptions& options) {
  Model model = load_model(directory, options);
  Json generation_config = Json::object();
  const std::filesystem::path path = directory / "generation_config.json";
  if (std::filesystem::exists(path)) generation_config = Json::parse_file(path);
  std::vector<int32_t> stops = eos_tokens(generation_config, model.checkpoint().config());
  return {std::move(model), Tokenizer::load(directory), std::move(generation_config),
          std::move(stops)};
}

}  // namespace qround
