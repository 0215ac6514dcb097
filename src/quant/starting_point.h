// Where learned rounding starts: at searched scales and codes rounded with error feedback, by what
// the maps read of the calibration text. Sign steps alone, from rounding to nearest, end behind
// where this begins.
#pragma once

#include "ops/full_range_int4.h"
#include "quant/importance.h"
#include "quant/rounding_state.h"

namespace qround::quant {

// Moves every map of `state` there; returns how much each input mattered on the way. `weights` is
// the block as given, where the executor's backend can read it; the first `samples` of `inputs` are
// looked at. Results do not depend on the number of threads.
Importance start_from_feedback(const ModelConfig& config, const BlockWeights& weights,
                               const CalibrationInputs& inputs, const TuneRecipe& recipe,
                               const Executor& executor, RoundingState& state);

// Takes, one after the other, what maps take of a device on the way; for a rehearsal
// (ops/rehearsal.h), on which nothing is computed.
void rehearse_feedback(const RoundingState& state, const Executor& executor);

// Bytes of the host this takes at most, beside activations of a batch; `largest_map` is the most
// weights of one.
uint64_t starting_point_bytes(const ModelConfig& config, uint64_t largest_map, int64_t group_size,
                              Threads threads);

// alpha and beta of a group with which sign_round has this scale, or its magnitude where the sign
// would take a factor above `max_factor`. The other side's factor is small enough that the sign
// stays.
struct RangeFactors {
  float alpha = 1, beta = 1;
};
RangeFactors factors_of_scale(ops::GroupRange range, float scale, float max_factor);

}  // namespace qround::quant
