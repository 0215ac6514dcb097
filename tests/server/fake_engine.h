// An engine that writes what a test tells it to, at a pace the test chooses.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/served_model.h"

namespace qround::server {

class FakeEngine {
 public:
  // The tokens to write for a request.
  std::function<std::vector<int32_t>(const Request&)> output;
  std::chrono::milliseconds pace{0};  // between tokens
  std::optional<Error> refusal;       // thrown by submit
  size_t vocab = 0;                   // of the logits shown to `constrain`; 0: it is not called

  std::atomic<int> submitted = 0, cancelled = 0, finished = 0;

  Request last_request() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

  EnginePort port() {
    return {.submit = [this](Request request) { return submit(std::move(request)); },
            .metrics =
                [this] {
                  EngineMetrics metrics;
                  metrics.submitted = submitted;
                  return metrics;
                }};
  }

 private:
  struct Record {
    Request request;
    std::vector<int32_t> script, written;
    size_t at = 0;
    std::atomic<bool> cancel_wanted = false;
    bool finished = false;
    std::atomic<int>* cancelled = nullptr;
    ~Record() {
      if (!finished && !cancel_wanted) ++*cancelled;
    }
  };

  EnginePort::Running submit(Request request) {
    if (refusal) throw Error(*refusal);
    ++submitted;
    auto record = std::make_shared<Record>();
    record->script = output(request);
    record->cancelled = &cancelled;
    {
      const std::lock_guard lock(mutex_);
      last_ = request;
    }
    record->request = std::move(request);
    return {.next = [this,
                     record](std::chrono::milliseconds timeout) { return next(*record, timeout); },
            .cancel =
                [this, record] {
                  if (!record->cancel_wanted.exchange(true)) ++cancelled;
                }};
  }

  Event end(Record& record, FinishReason reason) {
    record.finished = true;
    ++finished;
    Finish finish;
    finish.reason = reason;
    finish.usage.prompt_tokens = static_cast<int64_t>(record.request.tokens.size());
    finish.usage.output_tokens = static_cast<int64_t>(record.at);
    return {.tokens = {}, .finish = finish};
  }

  std::optional<Event> next(Record& record, std::chrono::milliseconds timeout) {
    if (record.finished) return std::nullopt;
    if (record.cancel_wanted) return end(record, FinishReason::cancelled);
    if (pace > timeout) {
      std::this_thread::sleep_for(timeout);
      return std::nullopt;
    }
    std::this_thread::sleep_for(pace);
    if (record.at == record.script.size()) return end(record, FinishReason::stop_token);
    const int32_t token = choose(record);
    for (const int32_t stop : record.request.stop_tokens) {
      if (stop == token) return end(record, FinishReason::stop_token);
    }
    record.written.push_back(token);
    ++record.at;
    OutputToken out{.token = token, .logprob = -0.5F, .top = {}};
    for (int64_t i = 0; i < record.request.top_logprobs.value_or(0); ++i) {
      out.top.push_back({.token = token, .logprob = -0.5F});
    }
    Event event{.tokens = {out}, .finish = {}};
    const bool goes_on = !record.request.on_token || record.request.on_token(token);
    if (!goes_on) event.finish = end(record, FinishReason::stop_requested).finish;
    if (goes_on && static_cast<int64_t>(record.at) == record.request.max_tokens) {
      event.finish = end(record, FinishReason::length).finish;
    }
    return event;
  }

  // The scripted token if the request's grammar allows it, else the first that it allows.
  int32_t choose(Record& record) {
    const int32_t wanted = record.script[record.at];
    if (!record.request.constrain || vocab == 0) return wanted;
    std::vector<float> logits(vocab, 0);
    logits[static_cast<size_t>(wanted)] = 1;
    record.request.constrain(record.written, logits);
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }

  mutable std::mutex mutex_;
  Request last_;
};

}  // namespace qround::server
