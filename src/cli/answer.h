// Streams one generation as text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/text_model.h"
#include "engine/engine.h"

namespace qround {

struct AnswerOptions {
  std::vector<std::string> stops;  // strings that end the text and are not part of it
  bool skip_special = true;
};

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::length;
  Usage usage;
};

// Runs `request` to its end, or until the user interrupts it (FinishReason::cancelled). `show`
// hears the text as it can be told, never half a character. Throws the Error that ended a failed
// request.
Answer generate_text(const Tokenizer& tokenizer, Engine& engine, Request request,
                     const AnswerOptions& options,
                     const std::function<void(std::string_view)>& show);

// What the answer took, for people and as JSON.
std::string timing_text(const Usage& usage);
Json timing_json(const Usage& usage);

const char* finish_reason_name(FinishReason reason);

}  // namespace qround
