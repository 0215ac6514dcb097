// Forward pass of one decoder block: h <- h + Mixer(norm(h)); h <- h + FeedForward(norm(h)).
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "model/batch_view.h"
#include "model/block_weights.h"
#include "model/pass_graphs.h"

namespace qround {

// Hears which experts a mixture-of-experts layer chose: [T, A], in the order of a route operation,
// in host memory.
using RouteObserver = std::function<void(std::span<const int32_t> experts)>;

// What a forward pass runs with.
struct Executor {
  const ops::OpTable& ops;
  ops::OpContext context;
  const RouteObserver* on_route = nullptr;  // null: nobody asks
  PassGraphs* graphs = nullptr;             // repeats passes; null: every operation is enqueued
};

// hidden [T, H] is the residual stream of all rows of the batch; updated in place. Whoever runs the
// last block ends the rows (SequenceState::end). `mixer_index` counts the blocks with a mixer of
// the same kind before this one. A row's result has the same bits whatever shares the batch.
void block_forward(const ModelConfig& config, const BlockWeights& weights, int64_t mixer_index,
                   const BatchView& batch, float* hidden, const Executor& executor);

// What sequences owe (SequenceState::owes_updates) becomes part of this Gated DeltaNet layer's
// states. The batch has no rows.
void settle_delta_net(const ModelConfig& config, int64_t mixer_index, const BatchView& batch,
                      const Executor& executor);

}  // namespace qround
