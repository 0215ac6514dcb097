// What the MTP head's block reads: the embedding of a token and the final hidden state of the token
// before it, each normed, side by side through one linear map.
#pragma once

#include <cstdint>

#include "model/block.h"
#include "model/stored_parameter.h"
#include "model/tensor_table.h"

namespace qround {

struct MtpInputWeights {
  ParameterVector embedding_norm, hidden_norm;  // [H]
  ops::Weight fc;                               // [H, 2H]: columns of the embedding first
};

// Throws Error naming the tensor that is missing or wrong. The views live as long as `checkpoint`.
MtpInputWeights load_mtp_input(const Checkpoint& checkpoint, const TensorTable& table);

// out [T, H] from embedded [T, H], which is used up, and hidden [T, H], outputs of the network's
// final norm. `out` may be `hidden`.
void mtp_input(const ModelConfig& config, const MtpInputWeights& weights, float* embedded,
               const float* hidden, int64_t tokens, float* out, const Executor& executor);

}  // namespace qround
