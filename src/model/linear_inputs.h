// What the linear maps of a block read in a forward pass, made again from what that pass kept.
// Statistics of these inputs say which weights matter.
#pragma once

#include <functional>
#include <span>

#include "model/block_training.h"

namespace qround {

// Rows that some linear maps of a block read alike, in the memory of the executor's backend.
struct LinearInputs {
  std::span<const LinearId> linears;
  const float* x = nullptr;        // [rows, K]
  const float* weights = nullptr;  // [rows]: what the routing multiplies the rows' results with;
                                   // null: 1
  int64_t rows = 0, k = 0;
};

using LinearInputVisitor = std::function<void(const LinearInputs&)>;

// Calls `visit` for the inputs of every linear map of the block, on the calling thread; x is gone
// when it returns. An expert's are the tokens routed to it; experts without tokens get no call.
// `training` has just done forward(weights, x, ...).
void visit_linear_inputs(const ModelConfig& config, const BlockWeights& weights,
                         const BlockTraining& training, const float* x,
                         const LinearInputVisitor& visit, const Executor& executor);

}  // namespace qround
