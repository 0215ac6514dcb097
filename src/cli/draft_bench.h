// The engine's speed with a fixed number of drafts by the MTP head at each step.
#pragma once

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

}  // namespace qround
