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

// The state lies in the memory of the executor's backend, snapshots in the host's.
class RoundingState {
 public:
  // Rounding to nearest: v = 0, alpha = beta = 1. K of every map is a multiple of group_size.
  // `resident` has the weights of `linears` where the backend can read them. What `executor` refers
  // to must outlive the state.
  RoundingState(std::vector<TunedLinear> linears, std::vector<ops::DenseWeight> resident,
                int64_t group_size, const TuneRecipe& recipe, const Executor& executor);

  const std::vector<TunedLinear>& linears() const { return linears_; }
  int64_t group_size() const { return group_size_; }

  // The source's weights where the backend can read them.
  const ops::DenseWeight& resident_weight(size_t linear_idx) const { return resident_[linear_idx]; }
  // The weights the block computes with; valid as long as this object, changed by steps and
  // `restore`.
  ops::DenseWeight effective_weight(size_t linear_idx) const;

  // What turns a map's weight gradient into a sign step and the effective weights after it, and the
  // sizes of that step.
  ops::SignRoundTarget target(size_t linear_idx) const;
  const ops::SignRoundStepSizes* step_sizes(int64_t iteration) const {
    return step_sizes_.data() + iteration;
  }
  const ops::SignRoundRule& rule() const { return rule_; }

  // Sets the parameters of a map, before the first step: v [N, K] in place, alpha and beta
  // [N, K / G] from host memory.
  int16_t* offsets(size_t linear_idx) const { return v_.data() + places_[linear_idx].first_weight; }
  void set_factors(size_t linear_idx, const float* alpha, const float* beta);
  // Makes the effective weights those of the parameters.
  void refresh();

  // Remembers the rounding of now in place of what was kept before, if the loss noted last is the
  // best (null: in any case).
  void keep(const ops::BestLoss* only_if_new);
  // What was kept last; no longer kept then.
  RoundingSnapshot take_kept();

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
  // body(linear_idx, begin, end) over all rows of all maps, for the backend's operations: some rows
  // at a time in parallel, or whole maps one after the other on a device, which shares the work by
  // itself.
  void for_parts(
      const std::function<void(size_t linear_idx, int64_t begin, int64_t end)>& body) const;

  // Bytes this state takes for so many weights in so many groups, one snapshot included.
  static uint64_t bytes(uint64_t weights, uint64_t groups, const TuneRecipe& recipe);

 private:
  struct Place {
    size_t first_weight, first_group;
  };

  ops::SignRoundRows rows_of(size_t linear_idx, int64_t begin, int64_t end) const;
  std::byte* values_of(size_t linear_idx) const;
  bool on_host() const { return executor_.ops.memory->is_host; }
  void for_row_blocks(
      const std::function<void(size_t linear_idx, int64_t begin, int64_t end)>& body) const;

  std::vector<TunedLinear> linears_;
  std::vector<ops::DenseWeight> resident_;
  std::vector<Place> places_;
  int64_t group_size_;
  ops::SignRoundRule rule_;
  Executor executor_;
  DType dtype_;  // of the effective weights
  size_t n_weights_ = 0, n_groups_ = 0;
  ops::Buffer<ops::SignRoundStepSizes> step_sizes_;  // [iterations]
  mutable ops::Buffer<int16_t> v_;
  mutable ops::Buffer<float> alpha_, beta_;
  mutable ops::Buffer<std::byte> values_;
  // What was kept, packed as snapshots are.
  ops::Buffer<uint8_t> kept_codes_;
  ops::Buffer<uint16_t> kept_scales_;
  RoundingSnapshot kept_;  // on hosts, so that it need not be copied
};

}  // namespace qround::quant
