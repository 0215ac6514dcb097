#include "server/completion_request.h"

#include <fmt/format.h>

#include "server/api_error.h"

namespace qround::server {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr size_t kAnyLength = std::numeric_limits<size_t>::max();

std::vector<CompletionPrompt> read_prompts(const RequestFields& request) {
  const Json* given = request.find("prompt");
  const std::string path = request.path_of("prompt");
  if (given == nullptr) throw ApiError::bad_parameter(path, "prompt is missing");
  if (given->is_string()) return {given->as_string()};
  if (!given->is_array()) refuse_type(path, "a string or an array", *given);
  const Json::Array& list = *request.array("prompt", kAnyLength);
  if (list.empty()) throw ApiError::bad_parameter(path, "prompt is empty");
  if (list.front().is_number()) return {parse_token_ids(*given, path)};
  std::vector<CompletionPrompt> prompts;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string element = element_path(path, i);
    if (list[i].is_string()) {
      prompts.emplace_back(list[i].as_string());
    } else if (list[i].is_array()) {
      prompts.emplace_back(parse_token_ids(list[i], element));
    } else {
      refuse_type(element, "a string or an array of token ids", list[i]);
    }
  }
  return prompts;
}

void check_combination(const CompletionRequest& completion, const RequestFields& request,
                       const RequestLimits& limits) {
  const auto choices = static_cast<int64_t>(completion.prompts.size()) * completion.parameters.n;
  if (static_cast<int64_t>(completion.prompts.size()) > limits.max_choices ||
      choices > limits.max_choices) {
    throw ApiError::bad_parameter("n", fmt::format("prompts times n is {}, at most {} are allowed",
                                                   choices, limits.max_choices));
  }
  if (completion.echo && completion.logprobs) {
    throw ApiError::bad_parameter("echo", "echo together with logprobs is not supported");
  }
  if (!completion.echo && completion.parameters.max_tokens == 0) {
    throw ApiError::bad_parameter("max_tokens", "max_tokens must be at least 1 without echo");
  }
  if (const auto suffix = request.text("suffix"); suffix && !suffix->empty()) {
    throw ApiError::bad_parameter("suffix", "suffix is not supported");
  }
}

}  // namespace

std::vector<int32_t> parse_token_ids(const Json& array, const std::string& path) {
  if (!array.is_array()) refuse_type(path, "an array of token ids", array);
  std::vector<int32_t> ids;
  ids.reserve(array.as_array().size());
  for (const Json& id : array.as_array()) {
    if (!id.is_int()) refuse_type(element_path(path, ids.size()), "a token id", id);
    if (id.as_int() < 0 || id.as_int() > std::numeric_limits<int32_t>::max()) {
      const std::string element = element_path(path, ids.size());
      throw ApiError::bad_parameter(element, fmt::format("{} is no token id", element));
    }
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return ids;
}

CompletionRequest parse_completion_request(const Json& body, const SamplingOptions& defaults,
                                           const RequestLimits& limits) {
  const RequestFields request(body);
  CompletionRequest completion;
  completion.parameters = parse_generation_parameters(request, defaults, limits);
  if (!completion.parameters.max_tokens) completion.parameters.max_tokens = kDefaultMaxTokens;
  completion.prompts = read_prompts(request);
  completion.echo = request.boolean("echo").value_or(false);
  completion.logprobs = request.integer("logprobs", 0, limits.max_top_logprobs);
  check_combination(completion, request, limits);
  return completion;
}

}  // namespace qround::server
