// One choice of an answer while it is generated.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "server/api_error.h"
#include "server/served_model.h"
#include "server/text_pipeline.h"

namespace qround::server {

// What came since the last look.
struct ChoiceUpdate {
  std::vector<OutputPart> parts;
  std::vector<OutputToken> tokens;
  std::optional<Finish> finish;  // the last update has it

  bool empty() const { return parts.empty() && tokens.empty() && !finish; }
};

class Choice {
 public:
  // Submits `request`; its on_token hook is set here. Throws Error as the engine does.
  Choice(const ServedModel& model, Request request, const TextOptions& text);

  // Waits up to `timeout` for something to come. Throws ApiError when the request failed.
  ChoiceUpdate next(std::chrono::milliseconds timeout);
  void cancel();

  bool finished() const { return finished_; }
  size_t calls() const { return pipeline_.calls(); }

 private:
  EnginePort::Running running_;
  TextPipeline pipeline_;
  bool finished_ = false;
};

}  // namespace qround::server
