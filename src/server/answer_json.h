// The pieces that answers of all endpoints are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/request.h"
#include "tokenizer/tokenizer.h"

namespace qround::server {

// Names one answer in all its chunks.
struct AnswerIdentity {
  std::string id, model;
  int64_t created = 0;  // seconds since 1970

  static AnswerIdentity make(std::string_view prefix, const std::string& model);
  // {"id", "object", "created", "model"}, to be continued.
  Json head(std::string_view object) const;
};

// prefix + 24 random hexadecimal digits.
std::string random_id(std::string_view prefix);

// Tokens and times of an answer, over all its choices.
class AnswerUsage {
 public:
  // A prompt counts once, however many choices it has.
  void add(const Usage& usage, bool count_prompt);
  // OpenAI's "usage".
  Json json() const;
  // llama-server's "timings": tokens per second, drafts.
  Json timings() const;

 private:
  Usage sum_;
};

// "content" of a chat's logprobs: [{token, logprob, bytes, top_logprobs}].
Json chat_logprobs(const Tokenizer& tokenizer, const std::vector<OutputToken>& tokens);

// A token's text; what is no UTF-8 of its own becomes U+FFFD.
std::string token_text(const Tokenizer& tokenizer, int32_t token);
// JSON knows no infinity; OpenAI writes -9999 for it.
double finite_logprob(float logprob);

}  // namespace qround::server
