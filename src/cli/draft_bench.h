// The engine's speed with a fixed number of drafts by the MTP head at each step.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace qround {

struct DraftBenchCase {
  int64_t batch = 0;
  int depth = 0;
  double prefill_seconds = 0, decode_seconds = 0;  // wall time of all requests together
  int64_t prompt_tokens = 0, decoded_tokens = 0;   // of all requests
  int64_t drafted = 0, accepted = 0;
  int64_t passes = 0;  // of the network, prompts included
};

struct DraftBenchRun {
  std::span<const std::vector<int32_t>> prompts;  // one a request
  int64_t decode = 128;                           // tokens of each, greedy, ends of text included
  EngineOptions options;                          // drafts are set by the run
};

// Runs all prompts at once. Prefill is over when every request has its first token.
DraftBenchCase bench_drafts(const Model& model, const ops::OpTable& ops, const DraftBenchRun& run,
                            int depth);

// `count` prompts of `length` random tokens each, always the same.
std::vector<std::vector<int32_t>> random_prompts(int64_t count, int64_t length, int64_t vocab);
// Pieces of a text, evenly spaced, in the tokens of the model in `directory`. Throws Error when the
// text is shorter than one prompt.
std::vector<std::vector<int32_t>> prompts_of_text(const std::filesystem::path& directory,
                                                  const std::filesystem::path& text, int64_t count,
                                                  int64_t length);

}  // namespace qround
