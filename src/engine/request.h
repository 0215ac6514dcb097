// What a caller asks of the engine and what comes back.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/sampler.h"

namespace qround {

enum class FinishReason { stop_token, stop_requested, length, context_full, cancelled, failed };

struct Request {
  std::vector<int32_t> tokens;  // the prompt, not empty
  SamplingOptions sampling;     // its seed alone decides the draws, whoever shares the batch
  std::vector<LogitBias> logit_bias;
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_tokens;  // end the text; counted, but not part of the output
  // Log-probabilities of the output before temperature and truncation, after penalties, biases and
  // `constrain`. None: not wanted; n: of the token and of the n likeliest ones.
  std::optional<int64_t> top_logprobs;

  // The two hooks are called on the engine's thread, in the order of the output, and must be quick.
  // What they throw ends this request with FinishReason::failed and nothing else.
  //
  // Before each choice: sets the logits [vocab] of tokens that are not allowed to minus infinity.
  // `output` holds the tokens chosen so far.
  std::function<void(std::span<const int32_t> output, std::span<float> logits)> constrain;
  // After each choice, stop tokens excepted: false ends the output with it (stop_requested).
  std::function<bool(int32_t token)> on_token;

  // Lengths of beginnings of the prompt that another prompt is likely to share, for example the
  // ends of its messages: the state is kept there for later requests. The engine keeps more places
  // by itself (EngineOptions::checkpoint_tokens).
  std::vector<int64_t> borders;
  // Drafts per step for this request: none: as the engine does; 0: no drafts. Never changes the
  // output.
  std::optional<int> mtp_drafts;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct OutputToken {
  int32_t token = 0;
  float logprob = 0;              // 0 unless Request::top_logprobs
  std::vector<TokenLogprob> top;  // likeliest first, lowest id first among equals
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, taken from the prefix cache
  int64_t output_tokens = 0;  // a stop token included
  int64_t drafted_tokens = 0, accepted_tokens = 0;
  double queue_seconds = 0;    // from submit to the first prompt token
  double prefill_seconds = 0;  // from there to the first output token
  double decode_seconds = 0;   // from there to the end
};

struct Finish {
  FinishReason reason = FinishReason::length;
  Usage usage;
  std::optional<Error> error;  // with FinishReason::failed
};

// One or more tokens, or the end, or both.
struct Event {
  std::vector<OutputToken> tokens;  // in order; nothing is told twice
  std::optional<Finish> finish;     // the last event has it
};

// The places behind the last `most` end tokens of a prompt, for Request::borders: conversations go
// on from there.
std::vector<int64_t> ends_of_messages(std::span<const int32_t> tokens,
                                      std::span<const int32_t> end_tokens, size_t most = 2);

}  // namespace qround
