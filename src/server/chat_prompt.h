// A chat as the tokens the model reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/chat_request.h"
#include "server/served_model.h"

namespace qround::server {

struct ChatPrompt {
  std::vector<int32_t> tokens;
  bool in_reasoning = false;  // it ends inside an open <think>
  std::string begun_call;     // the beginning of a forced tool call it ends with
};

// Throws ApiError 400 with what the template refuses.
ChatPrompt chat_prompt(const ServedModel& model, const ChatRequest& chat);

}  // namespace qround::server
