// The members of a request that say how to generate, the same for chat and plain completions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/sampler.h"
#include "server/request_fields.h"
#include "server/request_limits.h"

namespace qround::server {

struct GenerationParameters {
  std::string model;         // empty: not given
  SamplingOptions sampling;  // its seed is set when `seed_given`
  bool seed_given = false;
  std::optional<int64_t> max_tokens;  // none: what the context leaves room for
  std::vector<std::string> stops;
  std::vector<int32_t> stop_token_ids;
  std::vector<LogitBias> biases;
  int64_t n = 1;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
  // text, json_object or json_schema; the schema of the last one, null otherwise.
  enum class Format { text, json_object, json_schema } format = Format::text;
  Json schema;
};

// What is not given is taken from `defaults`. Members it does not know are ignored. Throws
// ApiError.
GenerationParameters parse_generation_parameters(const RequestFields& request,
                                                 const SamplingOptions& defaults,
                                                 const RequestLimits& limits);

}  // namespace qround::server
