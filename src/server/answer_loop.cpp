#include "server/answer_loop.h"

#include <algorithm>

namespace qround::server {
namespace {

using Clock = std::chrono::steady_clock;

// How soon a client that went away is noticed.
constexpr std::chrono::milliseconds kLook(100);
// With several choices each is asked in turn.
constexpr std::chrono::milliseconds kShortLook(5);
constexpr std::chrono::seconds kKeepAlive(5);

// Times between the tokens of one choice, for the metrics.
class TokenClock {
 public:
  explicit TokenClock(Clock::time_point begin) : last_(begin) {}

  void count(size_t tokens, ServerMetrics& metrics) {
    if (tokens == 0) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - last_).count();
    if (!started_) metrics.first_token(seconds);
    // Tokens that came together share their time.
    for (size_t i = 0; started_ && i < tokens; ++i) {
      metrics.next_token(seconds / static_cast<double>(tokens));
    }
    started_ = true;
    last_ = Clock::now();
  }

 private:
  Clock::time_point last_;
  bool started_ = false;
};

}  // namespace

AnswerEnd run_choices(std::vector<Choice>& choices, HttpExchange& exchange, ServerMetrics& metrics,
                      const AnswerCallbacks& callbacks) {
  const auto cancel_all = [&](AnswerEnd end) {
    for (Choice& choice : choices) choice.cancel();
    return end;
  };
  std::vector<TokenClock> clocks(choices.size(), TokenClock(Clock::now()));
  Clock::time_point told = Clock::now(), looked = told;
  while (true) {
    const auto open = std::count_if(choices.begin(), choices.end(),
                                    [](const Choice& choice) { return !choice.finished(); });
    if (open == 0) return AnswerEnd::complete;
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].finished()) continue;
      ChoiceUpdate update = choices[i].next(open > 1 ? kShortLook : kLook);
      if (update.empty()) continue;
      clocks[i].count(update.tokens.size(), metrics);
      told = Clock::now();
      if (!callbacks.update(i, update)) return cancel_all(AnswerEnd::client_gone);
    }
    const Clock::time_point now = Clock::now();
    if (now - looked < kLook) continue;
    looked = now;
    if (exchange.client_gone()) return cancel_all(AnswerEnd::client_gone);
    if (exchange.cut()) return cancel_all(AnswerEnd::cut);
    if (now - told > kKeepAlive) {
      callbacks.idle();
      told = now;
    }
  }
}

}  // namespace qround::server
