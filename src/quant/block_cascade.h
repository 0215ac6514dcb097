// Tunes the text blocks of a network one after the other. Two streams of hidden states of the
// calibration sequences run through it: the full-precision network's, which gives each block its
// targets, and the quantized network's, which gives it its inputs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/json.h"
#include "quant/block_tuner.h"
#include "quant/calibration.h"
#include "quant/export_plan.h"
#include "quant/packed_batch.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

// What the report says of a tuned block.
struct BlockRecord {
  int64_t block = 0;
  double loss_before = 0, loss_after = 0;  // mean squared error, as TuneResult has them
  int64_t kept_iteration = 0;
  double seconds = 0;
  std::vector<double> losses;
  std::vector<int64_t> expert_tokens;
};

Json to_json(const BlockRecord& record);

class BlockCascade {
 public:
  // All references must outlive the cascade. The streams start as the embeddings of `data`.
  BlockCascade(const Checkpoint& source, const ModelConfig& config, const TensorTable& table,
               const CalibrationData& data, const TuneRecipe& recipe, int64_t group_size,
               const Executor& executor);

  // Tunes the int4 maps among `items`, which are those of text block `block`; blocks come in order.
  // Throws Error of kind `interrupted`.
  BlockRecord tune(int64_t block, const std::vector<ExportItem>& items,
                   const std::function<void(const TuneProgress&)>& progress,
                   const std::atomic<bool>* stop);

  // Fills the batch, whose items are of the block tuned last, from its rounding.
  void pack(PackedBatch& batch, Threads threads) const;

  // Anonymous memory for tuning a block of `config`.
  static uint64_t estimate_memory(const ModelConfig& config, const ExportPlan& plan,
                                  const TuneRecipe& recipe, int64_t group_size, Threads threads);

 private:
  BlockData data_of(const std::vector<float>& inputs, const std::vector<float>& targets) const;
  size_t linear_index(const ExportItem& item) const;

  const Checkpoint& source_;
  const ModelConfig& config_;
  const TensorTable& table_;
  TuneRecipe recipe_;
  int64_t samples_, length_, group_size_;
  Executor executor_;
  std::vector<float> reference_, quantized_, target_;  // [samples, L, H]
  std::optional<BlockTuner> tuner_;
  TuneResult result_;
};

}  // namespace qround::quant
