#include "server/choice.h"

namespace qround::server {
namespace {

// Ends the generation where the text ends. Needed only where the text can end before the engine
// knows it.
std::function<bool(int32_t)> stop_hook(const ServedModel& model, const TextOptions& text) {
  if (text.stops.empty() && text.most_calls == SIZE_MAX) return nullptr;
  auto pipeline = std::make_shared<TextPipeline>(model.tokenizer, text);
  return [pipeline](int32_t token) {
    std::vector<OutputPart> unused;
    pipeline->push(token, unused);
    return !pipeline->stopped();
  };
}

EnginePort::Running submit(const ServedModel& model, Request request, const TextOptions& text) {
  request.on_token = stop_hook(model, text);
  return model.engine.submit(std::move(request));
}

}  // namespace

Choice::Choice(const ServedModel& model, Request request, const TextOptions& text)
    : running_(submit(model, std::move(request), text)), pipeline_(model.tokenizer, text) {}

ChoiceUpdate Choice::next(std::chrono::milliseconds timeout) {
  ChoiceUpdate update;
  if (finished_) return update;
  std::optional<Event> event = running_.next(timeout);
  if (!event) return update;
  for (OutputToken& token : event->tokens) {
    pipeline_.push(token.token, update.parts);
    update.tokens.push_back(std::move(token));
  }
  if (!event->finish) return update;
  finished_ = true;
  if (event->finish->reason == FinishReason::failed) {
    if (event->finish->error) throw ApiError::from(*event->finish->error);
    throw ApiError(500, "the request failed");
  }
  pipeline_.finish(update.parts);
  update.finish = std::move(event->finish);
  return update;
}

void Choice::cancel() { running_.cancel(); }

}  // namespace qround::server
