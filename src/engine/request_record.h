// One request between the thread that asks and the engine's thread: the engine adds tokens, the
// caller takes them; each side allocates on its own thread alone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace qround {

class RequestRecord {
 public:
  using Clock = std::chrono::steady_clock;

  // Room for `most_tokens` tokens of output.
  RequestRecord(Request request, int64_t most_tokens);

  const Request& request() const { return request_; }
  int64_t most_tokens() const { return most_tokens_; }
  Clock::time_point submitted() const { return submitted_; }

  // For the engine's thread. `top` has as many entries for every token.
  void add(int32_t token, float logprob, std::span<const TokenLogprob> top);
  void finish(Finish finish);
  bool cancel_wanted() const { return cancel_wanted_.load(std::memory_order_relaxed); }

  // For the caller.
  void cancel() { cancel_wanted_ = true; }
  std::optional<Event> next(std::chrono::milliseconds timeout);

 private:
  struct Told {
    int32_t token = 0;
    float logprob = 0;
  };

  const Request request_;
  const int64_t most_tokens_;
  const Clock::time_point submitted_ = Clock::now();
  std::atomic<bool> cancel_wanted_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Told> tokens_;
  std::vector<TokenLogprob> top_;  // of all tokens, one after the other
  std::optional<Finish> finish_;
  size_t told_ = 0;
  bool finish_told_ = false;
};

}  // namespace qround
