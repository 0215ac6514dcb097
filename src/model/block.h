// Forward pass of one decoder block: h <- h + Mixer(norm(h)); h <- h + FeedForward(norm(h)).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "model/block_weights.h"
#include "model/sequence_state.h"
#include "ops/backend.h"

namespace qround {

// Hears which experts a mixture-of-experts layer chose: [T, A], in the order of a route operation.
using RouteObserver = std::function<void(std::span<const int32_t> experts)>;

// What a forward pass runs with.
struct Executor {
  const ops::OpTable& ops;
  ops::OpContext context;
  const RouteObserver* on_route = nullptr;  // null: nobody asks
};

// The next rows of one sequence in a batch.
struct SequenceRows {
  SequenceState* state = nullptr;
  int64_t tokens = 0;
  int64_t first_position = 0;  // of the first of them
  bool tentative = false;      // at most state->max_tentative() tokens then
};

// hidden [T, H] is the residual stream of all rows, those of batch[0] first; updated in place. The
// states hold the tokens before and have begun these (SequenceState::begin); whoever runs the last
// block ends them. `mixer_index` counts the blocks with a mixer of the same kind before this one.
// A row's result has the same bits whatever shares the batch.
void block_forward(const ModelConfig& config, const BlockWeights& weights, int64_t mixer_index,
                   std::span<const SequenceRows> batch, float* hidden, const Executor& executor);

// Applies the updates a state owes (SequenceState::owes_updates) to this Gated DeltaNet layer.
void settle_delta_net(const ModelConfig& config, int64_t mixer_index, SequenceState& state,
                      const Executor& executor);

}  // namespace qround
