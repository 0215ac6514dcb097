// Checks the messages of a chat and puts them into the terms chat templates know.
#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "server/api_error.h"
#include "server/chat_request.h"

namespace qround::server {
namespace {

// "developer" is the newer name of "system".
std::string template_role(const RequestFields& message) {
  const std::string role = message.text("role").value_or("");
  if (role == "developer") return "system";
  for (const char* known : {"system", "user", "assistant", "tool"}) {
    if (role == known) return role;
  }
  const std::string path = message.path_of("role");
  throw ApiError::bad_parameter(
      path, fmt::format("{} must be system, developer, user, assistant or tool", path));
}

std::string part_text(const RequestFields& part) {
  const std::string type = part.text("type").value_or("text");
  if (type == "text" || type == "input_text" || type == "refusal") {
    const auto text = part.text(type == "refusal" ? "refusal" : "text");
    if (text) return *text;
    throw ApiError::bad_parameter(part.path_of("text"),
                                  fmt::format("{} is missing", part.path_of("text")));
  }
  const std::string path = part.path_of("type");
  throw ApiError::bad_parameter(
      path,
      fmt::format("content of type \"{}\" is not supported: this server reads text only", type));
}

// The text of a message's content: a string or parts, which are joined.
Json content_text(const RequestFields& message, const RequestLimits& limits) {
  const Json* content = message.find("content");
  if (content == nullptr) return {};
  if (content->is_string()) return *content;
  const std::string path = message.path_of("content");
  if (!content->is_array()) refuse_type(path, "a string or an array of parts", *content);
  const Json::Array& parts = *message.array("content", limits.max_messages);
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    text += part_text(RequestFields(parts[i], element_path(path, i)));
  }
  return text;
}

Json call_arguments(const RequestFields& function) {
  const Json* given = function.find("arguments");
  const std::string path = function.path_of("arguments");
  if (given == nullptr) return Json::object();
  if (given->is_object()) return *given;
  if (!given->is_string()) refuse_type(path, "a string of JSON", *given);
  if (given->as_string().empty()) return Json::object();
  try {
    Json arguments = Json::parse(given->as_string());
    if (arguments.is_object()) return arguments;
  } catch (const Error&) {
    // Reported below, like JSON that is no object.
  }
  throw ApiError::bad_parameter(path, fmt::format("{} must spell a JSON object", path));
}

Json tool_calls(const RequestFields& message, const RequestLimits& limits) {
  Json::Array calls;
  const Json::Array& given = *message.array("tool_calls", limits.max_messages);
  for (size_t i = 0; i < given.size(); ++i) {
    const RequestFields call(given[i], element_path(message.path_of("tool_calls"), i));
    const auto function = call.object("function");
    if (!function || !function->text("name")) {
      const std::string path = call.path_of("function.name");
      throw ApiError::bad_parameter(path, fmt::format("{} is missing", path));
    }
    Json out = Json::object({{"type", "function"}});
    if (const auto id = call.text("id")) out.set("id", *id);
    out.set("function", Json::object({{"name", *function->text("name")},
                                      {"arguments", call_arguments(*function)}}));
    calls.push_back(std::move(out));
  }
  return Json(std::move(calls));
}

Json template_message(const RequestFields& given, const RequestLimits& limits) {
  const std::string role = template_role(given);
  Json message = Json::object({{"role", role}});
  Json content = content_text(given, limits);
  const bool calls = role == "assistant" && given.has("tool_calls");
  const bool reasons = given.has("reasoning_content") || given.has("reasoning");
  if (content.is_null() && !calls && !reasons) {
    const std::string path = given.path_of("content");
    throw ApiError::bad_parameter(path, fmt::format("{} is missing", path));
  }
  message.set("content", content.is_null() ? Json("") : std::move(content));
  for (const char* key : {"reasoning", "reasoning_content"}) {
    if (const auto text = given.text(key)) message.set("reasoning_content", *text);
  }
  for (const char* key : {"name", "tool_call_id"}) {
    if (const auto text = given.text(key)) message.set(key, *text);
  }
  if (calls) message.set("tool_calls", tool_calls(given, limits));
  return message;
}

}  // namespace

Json parse_messages(const RequestFields& request, const RequestLimits& limits) {
  const Json::Array* given = request.array("messages", limits.max_messages);
  const std::string path = request.path_of("messages");
  if (given == nullptr || given->empty()) {
    throw ApiError::bad_parameter(path, "messages must be an array of at least one message");
  }
  Json::Array messages;
  for (size_t i = 0; i < given->size(); ++i) {
    messages.push_back(template_message(RequestFields((*given)[i], element_path(path, i)), limits));
  }
  return Json(std::move(messages));
}

}  // namespace qround::server
