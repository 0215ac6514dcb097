#include "engine/request_record.h"

#include <utility>

namespace qround {

RequestRecord::RequestRecord(Request request, int64_t most_tokens)
    : request_(std::move(request)), most_tokens_(most_tokens) {
  const auto most = static_cast<size_t>(most_tokens);
  tokens_.reserve(most);
  top_.reserve(most * static_cast<size_t>(request_.top_logprobs.value_or(0)));
}

void RequestRecord::add(int32_t token, float logprob, std::span<const TokenLogprob> top) {
  {
    const std::lock_guard lock(mutex_);
    tokens_.push_back({token, logprob});
    top_.insert(top_.end(), top.begin(), top.end());
  }
  changed_.notify_one();
}

void RequestRecord::finish(Finish finish) {
  {
    const std::lock_guard lock(mutex_);
    finish_ = std::move(finish);
  }
  changed_.notify_one();
}

std::optional<Event> RequestRecord::next(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (finish_told_) return std::nullopt;
  const auto something = [&] { return told_ < tokens_.size() || finish_; };
  if (!changed_.wait_for(lock, timeout, something)) return std::nullopt;
  Event event;
  const auto n_top = static_cast<size_t>(request_.top_logprobs.value_or(0));
  for (; told_ < tokens_.size(); ++told_) {
    const TokenLogprob* top = top_.data() + told_ * n_top;
    event.tokens.push_back({.token = tokens_[told_].token,
                            .logprob = tokens_[told_].logprob,
                            .top = std::vector<TokenLogprob>(top, top + n_top)});
  }
  if (finish_) {
    event.finish = *finish_;
    finish_told_ = true;
  }
  return event;
}

}  // namespace qround
