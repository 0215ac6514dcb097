#include "cli/text_model.h"

#include <fmt/format.h>

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

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

}  // namespace

TextModel TextModel::load(const std::filesystem::path& directory) {
  Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory)));
  Json generation_config = Json::object();
  const std::filesystem::path path = directory / "generation_config.json";
  if (std::filesystem::exists(path)) generation_config = Json::parse_file(path);
  std::vector<int32_t> stops = eos_tokens(generation_config, model.checkpoint().config());
  return {std::move(model), Tokenizer::load(directory), std::move(generation_config),
          std::move(stops)};
}

std::string Timing::text() const {
  return fmt::format("prompt {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s",
                     prompt_tokens, rate(prompt_tokens, prompt_seconds), new_tokens,
                     rate(new_tokens, decode_seconds));
}

Json Timing::json() const {
  return Json::object({{"prompt_tokens", prompt_tokens},
                       {"prompt_seconds", prompt_seconds},
                       {"new_tokens", new_tokens},
                       {"decode_seconds", decode_seconds}});
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop_token:
      return "stop";
    case FinishReason::stop_requested:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::context_full:
      return "context_full";
    case FinishReason::interrupted:
      return "interrupted";
  }
  return "";
}

}  // namespace qround
