#include "engine/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace qround {

Session::Session(const Model& model, const Executor& executor, const SessionOptions& options)
    : model_(model),
      executor_(executor),
      context_(options.context > 0 ? options.context : model.config().max_positions),
      prefill_chunk_(std::max<int64_t>(1, options.prefill_chunk)),
      state_(model.config()) {
  if (context_ > model.config().max_positions) {
    throw Error("the context is longer than the model allows")
        .expected(fmt::format("at most {} tokens", model.config().max_positions))
        .actual(fmt::format("{}", context_));
  }
}

void Session::append(std::span<const int32_t> ids, const std::function<void(int64_t)>& progress) {
  if (ids.empty()) throw Error("the prompt is empty").hint("give at least one token of text");
  const auto total = static_cast<int64_t>(tokens_.size() + ids.size());
  if (total > context_) {
    throw Error("the prompt is longer than the context")
        .expected(fmt::format("at most {} tokens", context_))
        .actual(fmt::format("{}", total))
        .hint("shorten the prompt or raise --ctx");
  }
  const ModelConfig& config = model_.config();
  const int64_t h = config.hidden;
  hidden_.resize(
      static_cast<size_t>(std::min<int64_t>(prefill_chunk_, static_cast<int64_t>(ids.size())) * h));
  for (size_t done = 0; done < ids.size();) {
    const size_t count = std::min(static_cast<size_t>(prefill_chunk_), ids.size() - done);
    model_.forward(ids.subspan(done, count), state_, hidden_.data(), executor_);
    done += count;
    if (done == ids.size()) {
      logits_.resize(static_cast<size_t>(config.vocab));
      model_.logits(hidden_.data() + static_cast<int64_t>(count - 1) * h, 1, logits_.data(),
                    executor_);
    }
    if (progress) progress(static_cast<int64_t>(done));
  }
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
}

Generation generate(Session& session, const GenerateOptions& options,
                    const std::function<bool(int32_t)>& on_token) {
  Sampler sampler(options.sampling, session.tokens());
  Generation result;
  while (static_cast<int64_t>(result.tokens.size()) < options.max_tokens) {
    if (options.interrupt != nullptr && options.interrupt->load()) {
      result.reason = FinishReason::interrupted;
      return result;
    }
    const int32_t token = sampler.sample(session.logits());
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) !=
        options.stop_tokens.end()) {
      result.reason = FinishReason::stop_token;
      return result;
    }
    result.tokens.push_back(token);
    if (!on_token(token)) {
      result.reason = FinishReason::stop_requested;
      return result;
    }
    if (static_cast<int64_t>(session.tokens().size()) == session.context()) {
      result.reason = FinishReason::context_full;
      return result;
    }
    session.append(std::span(&token, 1));
  }
  return result;
}

}  // namespace qround
