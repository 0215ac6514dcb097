// The model a server offers, and the engine that runs it, as the handlers of requests see them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/token_tries.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace qround::server {

// The engine as a table of functions: the real one, or one that a test makes up. All may be called
// from several threads.
struct EnginePort {
  // A request that runs. Destroying it cancels it.
  struct Running {
    std::function<std::optional<Event>(std::chrono::milliseconds timeout)> next;
    std::function<void()> cancel;
  };
  std::function<Running(Request)> submit;  // throws Error as Engine::submit does
  std::function<EngineMetrics()> metrics;
};
EnginePort port_of(Engine& engine);  // the engine must outlive it

struct ServedModel {
  std::string id;                    // what /v1/models lists
  std::vector<std::string> aliases;  // further names; "*" stands for any
  Tokenizer tokenizer;
  std::shared_ptr<const TokenTries> tries;  // of the tokenizer, for constrained decoding
  std::optional<ChatTemplate> chat_template;
  std::vector<int32_t> stop_tokens;  // end of the text, by the model's generation_config.json
  SamplingOptions sampling;          // for what a request does not say
  int64_t context_tokens = 0;        // most tokens of a request, prompt and output
  int64_t created = 0;               // seconds since 1970
  EnginePort engine;

  bool answers_to(std::string_view name) const;  // an empty name is any
};

}  // namespace qround::server
