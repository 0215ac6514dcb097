// Streams one generation as text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/text_model.h"
#include "engine/session.h"

namespace qround {

struct AnswerOptions {
  GenerateOptions generate;
  std::vector<std::string> stops;  // strings that end the text and are not part of it
  bool skip_special = true;
};

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::length;
  Timing timing;
};

// Takes in `prompt` and generates until a stop. `show` hears the text as it can be told, never half
// a character.
Answer generate_text(const TextModel& text_model, Session& session,
                     const std::vector<int32_t>& prompt, const AnswerOptions& options,
                     const std::function<void(std::string_view)>& show);

}  // namespace qround
