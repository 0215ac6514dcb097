// Log-probabilities of a choice.
#pragma once

#include <cstdint>
#include <span>

#include "engine/request.h"

namespace qround {

// The log-probability of `token` under softmax(logits), and those of the likeliest top.size()
// tokens, likeliest first, lowest id first among equals. Allocates nothing.
float logprobs(std::span<const float> logits, int32_t token, std::span<TokenLogprob> top);

}  // namespace qround
