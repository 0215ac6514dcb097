// The tuned parameters of a block's linear maps and the weights they stand for.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/threads.h"
#include "model/block_training.h"
#include "ops/backend.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

// A linear map that is tuned: whose it is, and its weight in the source.
struct TunedLinear {
  LinearId id;
  std::string name;  // its module, for messages
  ops::DenseWeight weight;
};

// Codes and scales of one parameter set, four bits to a code.
struct RoundingSnapshot {
  std::vector<uint8_t> packed_codes;  // of all maps one after the other; low nibble first
  std::vector<uint16_t> scales;       // f16 bits
};

// Codes [count], 0..15 each, to the packed form; `count` is even.
void pack_nibbles(const uint8_t* codes, size_t count, uint8_t* packed);

class RoundingState {
 public:
  // v = 0, alpha = beta = 1. K of every map is a multiple of group_size.
  RoundingState(std::vector<TunedLinear> linears, int64_t group_size, const TuneRecipe& recipe,
                const ops::OpTable& ops, const ops::OpContext& context);

  const std::vector<TunedLinear>& linears() const { return linears_; }
  int64_t group_size() const { return group_size_; }

  // The weights the block computes with; valid as long as this object, changed by `step` and
  // `restore`.
  ops::DenseWeight effective_weight(size_t linear_idx) const;

  // One sign step of rows [begin, end) of a map, and their effective weights after it. Different
  // rows may be stepped at the same time. gradient [end - begin, K].
  void step(size_t linear_idx, int64_t begin, int64_t end, const float* gradient,
            int64_t iteration);

  void snapshot(RoundingSnapshot& into) const;
  // A snapshot of zeros, to be filled with `write`.
  RoundingSnapshot empty_snapshot() const;
  // Makes the effective weights those of a snapshot. No step may follow.
  void restore(const RoundingSnapshot& snapshot);

  // Rows of a snapshot: codes [end - begin, K] 0..15, scales [end - begin, K / G].
  void read(const RoundingSnapshot& snapshot, size_t linear_idx, int64_t begin, int64_t end,
            uint8_t* codes, uint16_t* scales) const;

  // Sets rows of a snapshot; the counterpart of `read`. Different rows may be written at the same
  // time.
  void write(RoundingSnapshot& snapshot, size_t linear_idx, int64_t begin, int64_t end,
             const uint8_t* codes, const uint16_t* scales) const;
  // body(linear_idx, begin, end) over all rows of all maps, some at a time, in parallel.
  void for_row_blocks(
      const std::function<void(size_t linear_idx, int64_t begin, int64_t end)>& body) const;

  // Bytes this state takes for so many weights in so many groups, one snapshot included.
  static uint64_t bytes(uint64_t weights, uint64_t groups, const TuneRecipe& recipe);

 private:
  struct Place {
    size_t first_weight, first_group;
  };

  ops::SignRoundRows rows_of(size_t linear_idx, int64_t begin, int64_t end) const;
  std::byte* values_of(size_t linear_idx) const;

  std::vector<TunedLinear> linears_;
  std::vector<Place> places_;
  int64_t group_size_;
  TuneRecipe recipe_;
  ops::SignRoundRule rule_;
  const ops::OpTable& ops_;
  ops::OpContext context_;
  DType dtype_;  // of the effective weights
  size_t n_weights_ = 0, n_groups_ = 0;
  mutable std::vector<int16_t> v_;
  mutable std::vector<float> alpha_, beta_;
  mutable std::vector<std::byte> values_;
};

}  // namespace qround::quant
