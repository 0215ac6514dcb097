#include "server/token_handlers.h"

#include <fmt/format.h>

#include "server/answer_json.h"
#include "server/api_error.h"
#include "server/chat_prompt.h"
#include "server/completion_request.h"

namespace qround::server {
namespace {

Json model_json(const ServedModel& model, const std::string& id) {
  return Json::object({{"id", id},
                       {"object", "model"},
                       {"created", model.created},
                       {"owned_by", "qround"},
                       {"max_model_len", model.context_tokens}});
}

std::vector<int32_t> tokens_of(const ServerContext& context, const Json& body) {
  const RequestFields request(body);
  if (request.has("messages")) {
    return chat_prompt(context.model,
                       parse_chat_request(body, context.model.sampling, context.limits))
        .tokens;
  }
  const auto text = request.has("content") ? request.text("content") : request.text("prompt");
  if (!text) throw ApiError::bad_parameter("prompt", "prompt is missing");
  return context.model.tokenizer.encode(*text);
}

}  // namespace

void check_model(const ServerContext& context, const std::string& name) {
  if (context.model.answers_to(name)) return;
  throw ApiError(404, fmt::format("the model \"{}\" does not exist here; this server has \"{}\"",
                                  name, context.model.id))
      .param("model")
      .code("model_not_found");
}

Json list_models(const ServerContext& context) {
  Json::Array models = {model_json(context.model, context.model.id)};
  for (const std::string& alias : context.model.aliases) {
    if (alias != "*") models.push_back(model_json(context.model, alias));
  }
  return Json::object({{"object", "list"}, {"data", Json(std::move(models))}});
}

Json describe_model(const ServerContext& context, const std::string& id) {
  check_model(context, id);
  return model_json(context.model, id);
}

Json tokenize(const ServerContext& context, const Json& body) {
  const std::vector<int32_t> ids = tokens_of(context, body);
  Json out = Json::object({{"count", static_cast<int64_t>(ids.size())},
                           {"max_model_len", context.model.context_tokens},
                           {"tokens", Json(Json::Array(ids.begin(), ids.end()))}});
  if (RequestFields(body).boolean("return_token_strs").value_or(false)) {
    Json::Array texts;
    for (const int32_t id : ids) texts.emplace_back(token_text(context.model.tokenizer, id));
    out.set("token_strs", Json(std::move(texts)));
  }
  return out;
}

Json detokenize(const ServerContext& context, const Json& body) {
  const Json* tokens = RequestFields(body).find("tokens");
  if (tokens == nullptr) throw ApiError::bad_parameter("tokens", "tokens is missing");
  const std::string text = context.model.tokenizer.decode(parse_token_ids(*tokens, "tokens"));
  // vLLM names it prompt, llama-server content.
  return Json::object({{"prompt", text}, {"content", text}});
}

}  // namespace qround::server
