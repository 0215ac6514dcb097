#include "server/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "server/api_error.h"

namespace qround::server {

uint64_t answer_seed(const GenerationParameters& parameters) {
  if (parameters.seed_given) return parameters.sampling.seed;
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

Request generation_request(const ServedModel& model, const GenerationParameters& parameters,
                           const std::vector<int32_t>& prompt, std::string_view param) {
  const auto length = static_cast<int64_t>(prompt.size());
  if (length == 0) {
    throw ApiError::bad_parameter(param, "the prompt holds no tokens");
  }
  const int64_t room = model.context_tokens - length;
  if (room < 1) {
    throw ApiError::bad_parameter(
        param, fmt::format("the prompt has {} tokens, but this server's context holds {} for "
                           "prompt and answer together",
                           length, model.context_tokens))
        .code("context_length_exceeded");
  }
  Request request;
  request.tokens = prompt;
  request.sampling = parameters.sampling;
  request.logit_bias = parameters.biases;
  request.max_tokens = std::min(parameters.max_tokens.value_or(room), room);
  // What must have a form ends where the form does.
  const bool has_form = parameters.format != GenerationParameters::Format::text;
  if (!parameters.ignore_eos || has_form) request.stop_tokens = model.stop_tokens;
  request.stop_tokens.insert(request.stop_tokens.end(), parameters.stop_token_ids.begin(),
                             parameters.stop_token_ids.end());
  request.borders = ends_of_messages(prompt, model.stop_tokens);
  return request;
}

}  // namespace qround::server
