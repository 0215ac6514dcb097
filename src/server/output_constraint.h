// Keeps an output inside a grammar: the hook the engine calls before each choice of a token.
#pragma once

#include <functional>
#include <span>

#include "server/chat_prompt.h"
#include "server/chat_request.h"
#include "server/grammar.h"
#include "server/served_model.h"

namespace qround::server {

// Request::constrain.
using ConstrainHook = std::function<void(std::span<const int32_t>, std::span<float>)>;

struct ConstraintOptions {
  Grammar grammar;               // checked
  std::string begins_after;      // "</think>": the text up to there is free; empty: none is
  bool free_afterwards = false;  // anything may follow; otherwise the output ends
};
// One choice's hook; it keeps what it needs of the model alive.
ConstrainHook constrain(const ServedModel& model, ConstraintOptions options);

// What a request's response_format or forced tool call asks for; empty when nothing. Throws
// ApiError when the schema is not supported.
ConstrainHook chat_constraint(const ServedModel& model, const ChatRequest& chat,
                              const ChatPrompt& prompt);
ConstrainHook format_constraint(const ServedModel& model, const GenerationParameters& parameters,
                                std::string begins_after = {});

}  // namespace qround::server
