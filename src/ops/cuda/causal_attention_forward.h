// The forward pass as the backward pass needs it.
#pragma once

#include "ops/causal_attention.h"

namespace qround::ops::cuda {

// As causal_attention; log_sums [T, Hq] becomes the logarithm of each softmax's denominator, of
// scores as they are: a probability is exp(scale * q k - log_sum).
void causal_attention_with_log_sums(const CausalAttentionArgs& args, float* log_sums,
                                    const OpContext& context);

}  // namespace qround::ops::cuda
