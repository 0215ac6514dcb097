// How an engine is set up, what memory that takes, and what it counts.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/threads.h"
#include "model/model_config.h"
#include "ops/workspace.h"

namespace qround {

// Drafts by the MTP head. `automatic` picks the depth that gives most tokens per second by the
// acceptance and the costs measured so far.
struct DraftOptions {
  static constexpr int kMaxDepth = 4;
  bool automatic = true;
  int depth = 3;  // drafts per step, at most kMaxDepth; with `automatic` the most it may use
  bool int4_head = false;  // draft with an int4 copy of lm_head, made at load
};

struct EngineOptions {
  int64_t context = 0;  // most tokens of a request, prompt and output; 0: the model's maximum
  int64_t max_sequences = 16;   // requests that run at once
  int64_t max_queue = 256;      // requests that may wait
  int64_t prefill_chunk = 512;  // prompt tokens per pass beside running requests
  // For keys and values, recurrent states and the prefix cache together; 0: what max_sequences
  // contexts of at most 32,768 tokens need, and a quarter more for the cache.
  uint64_t state_budget_bytes = 0;
  // Of a device: most to take, weights included; 0: what is free.
  uint64_t device_memory_bytes = 0;
  double prefix_cache_share = 0.25;  // most of the budget that finished requests' states may keep
  int64_t checkpoint_tokens = 1024;  // a state is kept every so many tokens of a prompt
  DraftOptions drafts;
  Threads threads;
  ops::Activations activations = ops::Activations::f32;  // of int4 maps; int8 is faster
};

// Bytes an engine will use beside the mapped checkpoint: all of it in the memory of the backend.
struct MemoryPlan {
  uint64_t weights_mapped_bytes = 0;  // shared with other processes; not part of the sums below
  uint64_t weights_copied_bytes = 0;  // on a device; not part of the sums below either
  uint64_t sequence_bytes = 0;        // recurrent state of one sequence, drafts included
  uint64_t sequences = 0;
  uint64_t kv_page_bytes = 0;  // keys and values of kKvPageTokens tokens
  uint64_t kv_pages = 0;
  uint64_t prefix_cache_bytes = 0;  // most it may hold; keys and values lie in kv_pages
  uint64_t scratch_bytes = 0;       // of a pass, about
  uint64_t draft_head_bytes = 0;
  uint64_t int8_copy_bytes = 0;  // of BF16 maps, see Model::use_int8_copies

  // Tokens that one request may have if nobody else runs.
  int64_t context_tokens() const;
  // The part that the state budget bounds.
  uint64_t state_bytes() const;
  // A few lines for people.
  std::string text() const;
};

// Throws Error (resource) when the budget cannot hold the sequences and a page.
MemoryPlan plan_memory(const class Model& model, const EngineOptions& options);

// Counters since the engine started and its load now.
struct EngineMetrics {
  int64_t queued = 0, running = 0;
  int64_t submitted = 0, finished = 0, cancelled = 0, failed = 0, rejected = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  int64_t passes = 0;  // of the network
  // By depth: drafts verified and accepted as first, second, … of their step.
  std::array<int64_t, DraftOptions::kMaxDepth> drafted{}, accepted{};
  int64_t kv_pages = 0, kv_pages_used = 0;
  int64_t cache_entries = 0, cache_bytes = 0, cache_hits = 0, cache_misses = 0;
  double busy_seconds = 0;
};

}  // namespace qround
