// One sequence in progress: its tokens, its state, the logits that follow them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "model/model.h"

namespace qround {

struct SessionOptions {
  int64_t context = 0;          // most tokens it may hold; 0: the model's maximum
  int64_t prefill_chunk = 512;  // tokens per forward pass of a prompt
};

class Session {
 public:
  // `model`, and what `executor` refers to, must outlive the session.
  Session(const Model& model, const Executor& executor, const SessionOptions& options);

  // Takes in tokens. Throws Error for none, for more than the context holds, or for an id outside
  // the vocabulary. `progress` hears how many of them are done.
  void append(std::span<const int32_t> ids, const std::function<void(int64_t)>& progress = nullptr);

  // [vocab], for the token after the last one; the caller may change them. Needs at least one
  // token.
  std::span<float> logits() { return logits_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t context() const { return context_; }

 private:
  const Model& model_;
  Executor executor_;
  int64_t context_, prefill_chunk_;
  SequenceState state_;
  std::vector<int32_t> tokens_;
  std::vector<float> hidden_, logits_;
};

enum class FinishReason { stop_token, stop_requested, length, context_full, interrupted };

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_tokens;              // end the text; not part of the result
  const std::atomic<bool>* interrupt = nullptr;  // checked before each token
};

struct Generation {
  std::vector<int32_t> tokens;  // without the stop token
  FinishReason reason = FinishReason::length;
};

// Continues a session token by token. `on_token` hears each one and returns false to stop after it.
Generation generate(Session& session, const GenerateOptions& options,
                    const std::function<bool(int32_t)>& on_token);

}  // namespace qround
