// Forward pass of one decoder block: h <- h + Mixer(norm(h)); h <- h + FeedForward(norm(h)).
#pragma once

#include <cstdint>
#include <span>

#include "model/block_weights.h"
#include "model/sequence_state.h"
#include "ops/backend.h"

namespace qround {

// What a forward pass runs with.
struct Executor {
  const ops::OpTable& ops;
  ops::OpContext context;
};

// hidden [T, H] is the residual stream, updated in place. `first_position` is the position of its
// first token; `state` holds the tokens before it and is advanced by T. Queries, keys and values of
// earlier calls are taken from it.
void block_forward(const ModelConfig& config, const BlockWeights& weights, BlockState& state,
                   int64_t first_position, int64_t tokens, float* hidden, const Executor& executor);

}  // namespace qround
