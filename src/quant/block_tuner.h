// Tunes the rounding of one decoder block so that its output on quantized inputs comes close to
// what the full-precision block gives (SignRound).
//
// An iteration: a batch of sequences, forward pass with the rounded weights, mean squared error,
// backward pass. The gradient of a weight exists a tile of rows at a time: the tile becomes sign
// steps, and its rows are rounded anew for the next iteration, while they lie in the cache.
//
// Results depend neither on the number of threads nor on timing. On a device an iteration is only
// enqueued, the choice of the best parameter set included; losses are read back every few
// iterations, for people to see.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "model/block_training.h"
#include "quant/rounding_state.h"
#include "quant/sample_store.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

// Calibration sequences of a block: stores of as many samples, [L, H] each or the beginning of
// longer ones.
struct BlockData {
  int64_t length = 0;          // L
  const SampleStore& inputs;   // what the quantized network hands to the block
  const SampleStore& targets;  // what the full-precision block makes of full-precision inputs
};

struct TuneProgress {
  int64_t iteration = 0;
  double loss = 0, first_loss = 0, best_loss = 0;  // of mini-batches
};

struct TuneResult {
  RoundingSnapshot rounding;   // the parameter set that was kept
  int64_t kept_iteration = 0;  // steps taken before it
  double loss_before = 0;  // mean squared error of plain rounding; on the held-out sequences, or
                           // the first mini-batch
  double loss_after = 0;   // of the kept set, on the same (mini_batch: on its own mini-batch)
  std::vector<double> losses;          // of each iteration's mini-batch, before its step
  std::vector<int64_t> expert_tokens;  // routed to each expert over all iterations; without any,
                                       // in the calibration set
  std::vector<int64_t> rare_experts;   // that got fewer than few_tokens of the calibration set
  int64_t searched_maps = 0;           // of theirs, rounded with searched scales
  bool interrupted = false;            // stopped early: nothing else is set
};

class BlockTuner {
 public:
  // The block is where the executor's backend can read it; the weights named in `linears`, the
  // checkpoint's, are replaced. `config`, the checkpoint and what `executor` refers to must outlive
  // the tuner.
  BlockTuner(const ModelConfig& config, ResidentBlock block, std::vector<TunedLinear> linears,
             int64_t group_size, const TuneRecipe& recipe, const Executor& executor);

  // Tunes; without iterations, feeds errors back or searches scales, as the recipe starts. `block`
  // tells the random streams of blocks apart. Throws Error when no loss was a number.
  TuneResult run(const BlockData& data, int64_t block,
                 const std::function<void(const TuneProgress&)>& progress,
                 const std::atomic<bool>* interrupt = nullptr);

  // states = block(states) with this rounding; sequences of `length` tokens. No `run` may follow.
  void forward(const RoundingSnapshot& rounding, SampleStore& states, int64_t length);

  const RoundingState& state() const { return state_; }
  const BlockWeights& source() const { return source_.weights; }

 private:
  TuneResult search(const BlockData& data);
  TuneResult feed_back(const BlockData& data);
  TuneResult tune(const BlockData& data, int64_t block,
                  const std::function<void(const TuneProgress&)>& progress,
                  const std::atomic<bool>* interrupt);
  void search_rare_experts(const BlockData& data, TuneResult& result) const;

  const ModelConfig& config_;
  TuneRecipe recipe_;
  Executor executor_;
  ResidentBlock source_;  // as given
  RoundingState state_;
  BlockWeights weights_;  // tuned maps read the state's effective weights
};

// states [samples, L, H] = block(states), `batch` sequences at a time. Results do not depend on
// `batch`. The weights lie in the memory of the executor's backend.
void forward_samples(const ModelConfig& config, const BlockWeights& weights, SampleStore& states,
                     TrainingBatch batch, const Executor& executor);

// The place of a linear map among a block's weights.
ops::Weight& linear_weight(BlockWeights& weights, LinearId id);

}  // namespace qround::quant
