// POST /v1/chat/completions: the request, checked, in the terms of the chat template.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "server/generation_parameters.h"
#include "server/tool.h"

namespace qround::server {

struct ChatRequest {
  GenerationParameters parameters;
  Json messages;  // as the template reads them: content of text parts joined, arguments as objects
  ToolUse tools;
  Json template_variables = Json::object();  // chat_template_kwargs
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::optional<int64_t> top_logprobs;  // none: no log-probabilities wanted
};

// Throws ApiError 400 naming the member that is wrong.
ChatRequest parse_chat_request(const Json& body, const SamplingOptions& defaults,
                               const RequestLimits& limits);

// The messages of a request, checked and in the template's terms. Throws ApiError.
Json parse_messages(const RequestFields& request, const RequestLimits& limits);

}  // namespace qround::server
