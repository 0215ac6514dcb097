// Tunes the text blocks of a network one after the other. Two streams of hidden states of the
// calibration sequences run through it: the full-precision network's, which gives each block its
// targets, and the quantized network's, which gives it its inputs.
//
// After the last text block the streams may enter the MTP head: row t then is what the head's block
// reads at token t, made from that stream's final hidden state and the embedding of token t + 1.
// The last token has no next one, so sequences are a row shorter there.
//
// A job that is continued replays the blocks tuned before: forward passes alone, so a block takes a
// few percent of its tuning time. Bits depend neither on threads nor on batches, so the streams are
// what they were.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "base/json.h"
#include "model/mtp_input.h"
#include "quant/block_tuner.h"
#include "quant/calibration.h"
#include "quant/export_plan.h"
#include "quant/next_block.h"
#include "quant/packed_batch.h"
#include "quant/sample_store.h"
#include "quant/tune_recipe.h"

namespace qround::quant {

// What the report says of a tuned block.
struct BlockRecord {
  Part part = Part::text;
  int64_t block = 0;
  double loss_before = 0, loss_after = 0;  // mean squared error, as TuneResult has them
  int64_t kept_iteration = 0;
  double seconds = 0;
  std::vector<double> losses;
  std::vector<int64_t> expert_tokens;
  std::vector<int64_t> rare_experts;
  int64_t searched_maps = 0;
};

Json to_json(const BlockRecord& record);

// The int4 maps among a block's items as the tuner wants them.
std::vector<TunedLinear> tuned_linears(const std::vector<ExportItem>& items);

// Where a job keeps what its blocks need.
struct Placement {
  std::filesystem::path folder;    // streams of the host lie in a file here; empty: in memory
  bool streams_on_device = false;  // instead
  bool next_on_device = false;     // the next block travels to the device while this one is tuned
};

class BlockCascade {
 public:
  // All references must outlive the cascade. The streams start as the embeddings of `data`. Throws
  // Error of kind `resource`.
  BlockCascade(const Checkpoint& source, const ModelConfig& config, const TensorTable& table,
               const CalibrationData& data, const TuneRecipe& recipe, int64_t group_size,
               const Placement& placement, const Executor& executor);

  // Tunes the int4 maps of a block; blocks come in order, the MTP head's after all text blocks;
  // `next` is the step after it, or null. Throws Error of kind `interrupted`.
  BlockRecord tune(const ExportStep& step, const ExportStep* next,
                   const std::function<void(const TuneProgress&)>& progress,
                   const std::atomic<bool>* stop);

  // Runs the streams through a block tuned before, as which `rounding` was kept. In place of
  // `tune`.
  void replay(const ExportStep& step, const RoundingSnapshot& rounding);

  // Fills the batch, whose items are of the block tuned last, from its rounding.
  void pack(PackedBatch& batch, Threads threads) const;

  // What tuning on a host backend takes: anonymous memory for a block, of which `scratch_bytes`
  // come from the executor's workspace, and for the streams memory or disk. Of a device:
  // quant/device_plan.h.
  struct Needs {
    uint64_t block_bytes = 0, scratch_bytes = 0, stream_bytes = 0;
  };
  static Needs needs(const ModelConfig& config, const ExportPlan& plan, const TuneRecipe& recipe,
                     int64_t group_size, Threads threads);

 private:
  void make_tuner(const ExportStep& step);
  void enter_mtp();
  void enter_mtp(SampleStore& stream, const MtpInputWeights& weights) const;
  ResidentBlock resident(const ExportStep& step);
  void begin_to_load(const ExportStep* next);
  void embed(const int32_t* tokens, int64_t count, float* out) const;
  size_t linear_index(const ExportItem& item) const;

  const Checkpoint& source_;
  const ModelConfig& config_;
  const TensorTable& table_;
  const CalibrationData& data_;
  TensorView embedding_;  // [vocab, H]
  TuneRecipe recipe_;
  int64_t length_, group_size_;
  Executor executor_;
  Placement placement_;
  SampleStore reference_, quantized_;
  std::optional<BlockTuner> tuner_;
  TuneResult result_;
  std::optional<NextBlock> next_;
};

}  // namespace qround::quant
