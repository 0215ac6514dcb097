// Runs a request and collects what comes of it.
#pragma once

#include <vector>

#include "engine/engine.h"

namespace qround {

struct EngineOutput {
  std::vector<int32_t> tokens;
  std::vector<OutputToken> details;
  Finish finish;
};

inline EngineOutput output_of(Generation generation) {
  EngineOutput output;
  while (true) {
    const std::optional<Event> event = generation.next(std::chrono::seconds(100));
    if (!event) throw Error("a request hangs");
    for (const OutputToken& token : event->tokens) {
      output.tokens.push_back(token.token);
      output.details.push_back(token);
    }
    if (!event->finish) continue;
    output.finish = *event->finish;
    return output;
  }
}

inline EngineOutput output_of(Engine& engine, Request request) {
  return output_of(engine.submit(std::move(request)));
}

}  // namespace qround
