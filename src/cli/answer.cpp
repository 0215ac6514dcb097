#include "cli/answer.h"

#include <fmt/format.h>

#include "cli/interrupt.h"
#include "engine/text_stream.h"

namespace qround {
namespace {

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

}  // namespace

Answer generate_text(const Tokenizer& tokenizer, Engine& engine, Request request,
                     const AnswerOptions& options,
                     const std::function<void(std::string_view)>& show) {
  Answer answer;
  TextStream text(tokenizer, options.stops, options.skip_special);
  const auto tell = [&](std::string piece) {
    answer.text += piece;
    if (!piece.empty()) show(piece);
  };
  Generation generation = engine.submit(std::move(request));
  bool finished = false;
  while (!finished) {
    const std::optional<Event> event = generation.next(std::chrono::milliseconds(50));
    if (interrupt_flag().load()) generation.cancel();
    if (!event) continue;
    for (const OutputToken& output : event->tokens) {
      if (text.stopped()) break;
      answer.tokens.push_back(output.token);
      tell(text.push(output.token));
      if (text.stopped()) generation.cancel();
    }
    if (!event->finish) continue;
    if (event->finish->error) throw *event->finish->error;
    answer.reason = text.stopped() ? FinishReason::stop_requested : event->finish->reason;
    answer.usage = event->finish->usage;
    finished = true;
  }
  tell(text.finish());
  return answer;
}

std::string timing_text(const Usage& usage) {
  std::string text = fmt::format(
      "prompt {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s", usage.prompt_tokens,
      rate(usage.prompt_tokens - usage.cached_tokens, usage.prefill_seconds), usage.output_tokens,
      rate(usage.output_tokens - 1, usage.decode_seconds));
  if (usage.drafted_tokens > 0) {
    text += fmt::format("; {} of {} drafts accepted", usage.accepted_tokens, usage.drafted_tokens);
  }
  return text;
}

Json timing_json(const Usage& usage) {
  return Json::object({{"prompt_tokens", usage.prompt_tokens},
                       {"cached_tokens", usage.cached_tokens},
                       {"prompt_seconds", usage.prefill_seconds},
                       {"new_tokens", usage.output_tokens},
                       {"decode_seconds", usage.decode_seconds},
                       {"drafted_tokens", usage.drafted_tokens},
                       {"accepted_tokens", usage.accepted_tokens}});
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop_token:
    case FinishReason::stop_requested:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::context_full:
      return "context_full";
    case FinishReason::cancelled:
      return "interrupted";
    case FinishReason::failed:
      return "failed";
  }
  return "";
}

}  // namespace qround
