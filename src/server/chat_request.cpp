#include "server/chat_request.h"

#include <fmt/format.h>

#include "server/api_error.h"

namespace qround::server {
namespace {

std::optional<int64_t> read_logprobs(const RequestFields& request, const RequestLimits& limits) {
  const bool wanted = request.boolean("logprobs").value_or(false);
  const auto top = request.integer("top_logprobs", 0, limits.max_top_logprobs);
  if (top && *top > 0 && !wanted) {
    throw ApiError::bad_parameter("top_logprobs", "top_logprobs needs logprobs to be true");
  }
  if (!wanted) return std::nullopt;
  return top.value_or(0);
}

// Variables of the template; what the request itself decides cannot be replaced by them.
Json read_variables(const RequestFields& request) {
  Json variables = Json::object();
  const auto given = request.object("chat_template_kwargs");
  if (!given) return variables;
  for (const auto& [key, value] : given->json().as_object()) {
    for (const char* reserved : {"messages", "tools", "documents", "add_generation_prompt"}) {
      if (key == reserved) {
        throw ApiError::bad_parameter(given->path_of(key),
                                      fmt::format("{} cannot be set here", given->path_of(key)));
      }
    }
    variables.set(key, value);
  }
  return variables;
}

void check_combination(const ChatRequest& chat) {
  const bool formatted = chat.parameters.format != GenerationParameters::Format::text;
  if (formatted && chat.tools.forced()) {
    throw ApiError::bad_parameter("response_format",
                                  "response_format cannot be combined with a forced tool call");
  }
  if (chat.add_generation_prompt && chat.continue_final_message) {
    throw ApiError::bad_parameter("continue_final_message",
                                  "continue_final_message needs add_generation_prompt to be false");
  }
  if (chat.parameters.max_tokens == 0) {
    throw ApiError::bad_parameter("max_tokens", "max_tokens must be at least 1");
  }
}

}  // namespace

ChatRequest parse_chat_request(const Json& body, const SamplingOptions& defaults,
                               const RequestLimits& limits) {
  const RequestFields request(body);
  ChatRequest chat;
  chat.parameters = parse_generation_parameters(request, defaults, limits);
  chat.messages = parse_messages(request, limits);
  chat.tools = parse_tool_use(request, limits);
  chat.template_variables = read_variables(request);
  chat.add_generation_prompt = request.boolean("add_generation_prompt").value_or(true);
  chat.continue_final_message = request.boolean("continue_final_message").value_or(false);
  chat.top_logprobs = read_logprobs(request, limits);
  if (request.has("chat_template")) {
    throw ApiError::bad_parameter("chat_template", "a request cannot bring its own chat template");
  }
  check_combination(chat);
  return chat;
}

}  // namespace qround::server
