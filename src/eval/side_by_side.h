// Runs several networks over the same windows, block by block: each block's weights are read once
// for all windows of a pass, and of the activations only one hidden state per token and lane is
// kept. A pass takes as many windows as the memory budget has room for.
//
// Results depend neither on the number of threads nor on the budget.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "base/progress.h"
#include "base/threads.h"
#include "eval/lane.h"
#include "eval/lane_scores.h"
#include "eval/protocol.h"

namespace qround::eval {

struct SideBySideOptions {
  Threads threads;
  std::string backend;                        // empty: the best one in host memory
  uint64_t memory_bytes = uint64_t{1} << 30;  // hidden states of all lanes together
  // Where the work so far is kept; empty: nowhere. `state_key` names the job: the state of another
  // one is not taken up.
  std::filesystem::path state_file;
  std::string state_key;
  double state_seconds = 60;  // at least so long between two writings
  Progress* progress = nullptr;
  const std::atomic<bool>* stop = nullptr;
};

// One LaneScores per lane. Throws Error of kind `interrupted` when stopped; the state file then
// holds the work up to its last writing, and the next call takes it up. A finished run removes it.
std::vector<LaneScores> run_side_by_side(const std::vector<Lane>& lanes, const WindowedText& text,
                                         const SideBySideOptions& options);

}  // namespace qround::eval
