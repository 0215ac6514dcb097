// Experts that calibration text hardly reaches. What tuning learned from a handful of tokens, or
// from none, says little of what they will meet: scales searched by the importance of what they did
// get are the safer choice.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/backend.h"
#include "quant/importance.h"
#include "quant/rounding_state.h"

namespace qround::quant {

// Experts among the maps of `state` that got fewer than `few_tokens`, in order.
std::vector<int64_t> rare_experts(const RoundingState& state, const Importance& importance,
                                  int64_t few_tokens);

// Gives each map of these experts searched scales where its weighted error, sum of d (w - w')^2
// with the importance d (all alike without tokens), is smaller so. Returns the number of maps
// changed.
int64_t round_rare_experts(const RoundingState& state, const std::vector<int64_t>& experts,
                           const Importance& importance, ops::ScaleGrid grid,
                           const ops::OpTable& ops, Threads threads, RoundingSnapshot& rounding);

// The weighted error of a map in a snapshot.
double weighted_error(const RoundingState& state, size_t linear_idx, const Importance& importance,
                      const ops::OpTable& ops, const RoundingSnapshot& rounding);

}  // namespace qround::quant
