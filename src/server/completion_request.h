// POST /v1/completions: the request, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "server/generation_parameters.h"

namespace qround::server {

// Text, or ids that are taken as they are.
using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  GenerationParameters parameters;        // 16 tokens unless max_tokens is given
  std::vector<CompletionPrompt> prompts;  // at least one
  bool echo = false;                      // the answer begins with the prompt
  std::optional<int64_t> logprobs;        // so many likeliest tokens of each position
};

// Throws ApiError 400 naming the member that is wrong.
CompletionRequest parse_completion_request(const Json& body, const SamplingOptions& defaults,
                                           const RequestLimits& limits);

// The ids of an array, checked. `path` is its place in the request.
std::vector<int32_t> parse_token_ids(const Json& array, const std::string& path);

}  // namespace qround::server
