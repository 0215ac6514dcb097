// The best parameter set of a run of learned rounding, found and kept where losses and parameters
// lie, so that nobody waits for a device to learn which it was.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "ops/sign_round.h"

namespace qround::ops {

struct BestLoss {
  double loss = std::numeric_limits<double>::infinity();
  int64_t iteration = 0;  // of `loss`
  int64_t is_new = 0;     // whether the loss noted last became the best
};

struct NoteLossArgs {
  const double* losses = nullptr;  // [count]: their mean is the loss
  int64_t count = 1;
  int64_t iteration = 0;
  BestLoss* best = nullptr;  // in the backend's memory, as losses
};

// A loss is the best when it is smaller than the best so far; what is no number never is.
using NoteLossFunction = void(const NoteLossArgs& args, const OpContext& context);

struct KeepRoundingArgs {
  std::span<const DenseWeight> weights;  // W [N, K] of each map
  SignRoundRule rule;
  SignRoundRows rows;               // v, alpha, beta of all maps one after the other, group size;
                                    // begin and end are not read
  uint8_t* packed_codes = nullptr;  // 4 bits each, the low nibble first, of all maps
  uint16_t* scales = nullptr;       // f16 bits, of all maps
  const BestLoss* only_if_new = nullptr;  // null: always
};

// Writes what the maps are rounded to now, or, where the loss noted last is not the best, nothing.
using KeepRoundingFunction = void(const KeepRoundingArgs& args, const OpContext& context);

// What host backends do, with their own way of rounding.
void keep_rounding_on_host(const KeepRoundingArgs& args, SignRoundFunction* round,
                           const OpContext& context);

namespace ref {
NoteLossFunction note_loss;
KeepRoundingFunction keep_rounding;
}  // namespace ref

namespace cpu {
KeepRoundingFunction keep_rounding;
}  // namespace cpu

namespace cuda {
NoteLossFunction note_loss;
KeepRoundingFunction keep_rounding;
}  // namespace cuda

}  // namespace qround::ops
