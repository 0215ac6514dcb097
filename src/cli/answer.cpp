#include "cli/answer.h"

#include <chrono>

#include "engine/stop_matcher.h"
#include "tokenizer/streaming_decoder.h"

namespace qround {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

Answer generate_text(const TextModel& text_model, Session& session,
                     const std::vector<int32_t>& prompt, const AnswerOptions& options,
                     const std::function<void(std::string_view)>& show) {
  Answer answer;
  const Clock::time_point begin = Clock::now();
  session.append(prompt);
  answer.timing.prompt_tokens = static_cast<int64_t>(prompt.size());
  answer.timing.prompt_seconds = seconds_since(begin);

  StreamingDecoder decoder(text_model.tokenizer, options.skip_special);
  StopMatcher stops(options.stops);
  const auto tell = [&](std::string piece) {
    answer.text += piece;
    if (!piece.empty()) show(piece);
  };
  const Clock::time_point decode_begin = Clock::now();
  Generation generation = generate(session, options.generate, [&](int32_t token) {
    tell(stops.push(decoder.push(token)));
    return !stops.stopped();
  });
  tell(stops.push(decoder.flush()));
  tell(stops.flush());
  answer.timing.decode_seconds = seconds_since(decode_begin);
  answer.timing.new_tokens = static_cast<int64_t>(generation.tokens.size());
  answer.tokens = std::move(generation.tokens);
  answer.reason = generation.reason;
  return answer;
}

}  // namespace qround
