#include "server/answer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "tokenizer/utf8.h"

namespace qround::server {
namespace {

constexpr double kNoProbability = -9999;

double per_second(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

Json token_bytes(std::string_view bytes) {
  Json::Array values;
  for (const char byte : bytes) values.emplace_back(int{static_cast<unsigned char>(byte)});
  return Json(std::move(values));
}

Json token_json(const Tokenizer& tokenizer, int32_t token, float logprob) {
  return Json::object({{"token", token_text(tokenizer, token)},
                       {"logprob", finite_logprob(logprob)},
                       {"bytes", token_bytes(tokenizer.id_to_token(token))}});
}

}  // namespace

std::string random_id(std::string_view prefix) {
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{}{:016x}{:08x}", prefix, generator(), generator() >> 32);
}

AnswerIdentity AnswerIdentity::make(std::string_view prefix, const std::string& model) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.id = random_id(prefix),
          .model = model,
          .created = std::chrono::duration_cast<std::chrono::seconds>(now).count()};
}

Json AnswerIdentity::head(std::string_view object) const {
  return Json::object({{"id", id}, {"object", object}, {"created", created}, {"model", model}});
}

void AnswerUsage::add(const Usage& usage, bool count_prompt) {
  if (count_prompt) {
    sum_.prompt_tokens += usage.prompt_tokens;
    sum_.cached_tokens += usage.cached_tokens;
  }
  sum_.output_tokens += usage.output_tokens;
  sum_.drafted_tokens += usage.drafted_tokens;
  sum_.accepted_tokens += usage.accepted_tokens;
  sum_.prefill_seconds = std::max(sum_.prefill_seconds, usage.prefill_seconds);
  sum_.decode_seconds = std::max(sum_.decode_seconds, usage.decode_seconds);
}

Json AnswerUsage::json() const {
  return Json::object(
      {{"prompt_tokens", sum_.prompt_tokens},
       {"completion_tokens", sum_.output_tokens},
       {"total_tokens", sum_.prompt_tokens + sum_.output_tokens},
       {"prompt_tokens_details", Json::object({{"cached_tokens", sum_.cached_tokens}})},
       {"completion_tokens_details",
        Json::object(
            {{"accepted_prediction_tokens", sum_.accepted_tokens},
             {"rejected_prediction_tokens", sum_.drafted_tokens - sum_.accepted_tokens}})}});
}

Json AnswerUsage::timings() const {
  return Json::object(
      {{"prompt_n", sum_.prompt_tokens - sum_.cached_tokens},
       {"prompt_ms", sum_.prefill_seconds * 1000},
       {"prompt_per_second",
        per_second(sum_.prompt_tokens - sum_.cached_tokens, sum_.prefill_seconds)},
       {"predicted_n", sum_.output_tokens},
       {"predicted_ms", sum_.decode_seconds * 1000},
       {"predicted_per_second", per_second(sum_.output_tokens, sum_.decode_seconds)},
       {"draft_n", sum_.drafted_tokens},
       {"draft_n_accepted", sum_.accepted_tokens}});
}

std::string token_text(const Tokenizer& tokenizer, int32_t token) {
  return to_utf8_lossy(tokenizer.id_to_token(token));
}

double finite_logprob(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kNoProbability;
}

Json chat_logprobs(const Tokenizer& tokenizer, const std::vector<OutputToken>& tokens) {
  Json::Array content;
  for (const OutputToken& token : tokens) {
    Json entry = token_json(tokenizer, token.token, token.logprob);
    Json::Array top;
    for (const TokenLogprob& other : token.top) {
      top.push_back(token_json(tokenizer, other.token, other.logprob));
    }
    entry.set("top_logprobs", Json(std::move(top)));
    content.push_back(std::move(entry));
  }
  return Json(std::move(content));
}

}  // namespace qround::server
