// A network ready to run: weights mapped from a checkpoint, forward pass, MTP head.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/block.h"
#include "model/block_weights.h"
#include "model/int8_copy.h"
#include "model/model_config.h"
#include "model/mtp_input.h"
#include "model/sequence_state.h"
#include "model/tensor_table.h"

namespace qround {

// The head that drafts further tokens: one more attention block that reads the embedding of token
// i+1 and the final hidden state of token i.
struct MtpWeights {
  MtpInputWeights input;
  BlockWeights block;
  std::vector<float> final_norm;  // [H]
};

// Immutable after loading; several threads may run it, each with its own Executor and states.
class Model {
 public:
  // The checkpoint may be BF16, F16, F32 or int4, experts fused or not. Throws Error listing what
  // does not fit.
  static Model load(std::shared_ptr<const Checkpoint> checkpoint);

  // Takes copies in int8 of the maps that are BF16, but for routed experts, routers and maps of few
  // outputs: half the bytes to read, for Activations::int8. Once, before anything runs.
  void use_int8_copies(Threads threads);
  uint64_t int8_copy_bytes() const;

  const ModelConfig& config() const { return config_; }
  const TensorTable& table() const { return table_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  bool has_mtp() const { return mtp_.has_value(); }
  const ops::Weight& lm_head() const { return lm_head_; }  // [vocab, H]

  const BlockWeights& block(int64_t index) const { return blocks_[static_cast<size_t>(index)]; }

  // The parts of forward(), for callers that run block after block over many sequences: rows of the
  // embedding of ids into out [T, H]; the final norm over hidden [rows, H] in place. Throws Error
  // for an id outside the vocabulary.
  void embed(std::span<const int32_t> ids, float* out) const;
  void normalize(int64_t rows, float* hidden, const Executor& executor) const;

  // The residual stream at a point of the forward pass, for oracles: level 0 is the embeddings,
  // level L the output of layer L - 1, one more than the number of layers the final norm. [T, H].
  using Observer = std::function<void(int64_t level, std::span<const float> hidden)>;

  // Runs the next tokens of several sequences in one batch: `ids` has the tokens of batch[0] first.
  // Advances the states. hidden [T, H]: the final norm's output, which both the logits and the MTP
  // head read; a row's bits do not depend on what else is in the batch or on how a sequence was cut
  // into calls. Throws Error for an id outside the vocabulary (input) or when there is no room for
  // keys and values (resource); the states are unchanged then.
  void forward(std::span<const int32_t> ids, std::span<const SequenceRows> batch, float* hidden,
               const Executor& executor, const Observer& observer = nullptr) const;
  // The same for one sequence.
  void forward(std::span<const int32_t> ids, SequenceState& state, float* hidden,
               const Executor& executor, const Observer& observer = nullptr) const;
  // Applies accepted tokens to the recurrent state where they are not yet.
  void settle(SequenceState& state, const Executor& executor) const;

  // logits [rows, vocab] of hidden [rows, H], of forward or mtp_forward.
  void logits(const float* hidden, int64_t rows, float* logits, const Executor& executor) const;

  // One pass of the MTP head over rows t: (embedding of next_ids[t], hidden[t]), at the positions
  // of `batch`, after the rows its states hold. out [T, H]: after the head's norm; may be `hidden`.
  // Needs has_mtp().
  void mtp_forward(std::span<const int32_t> next_ids, const float* hidden,
                   std::span<const SequenceRows> batch, float* out, const Executor& executor) const;
  // The head's state before its first row.
  SequenceState empty_mtp_state() const;

 private:
  Model() = default;
  void check_ids(std::span<const int32_t> ids) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  TensorTable table_;
  ops::Weight embedding_;  // [vocab, H]
  ops::Weight lm_head_;    // [vocab, H]
  std::vector<BlockWeights> blocks_;
  std::vector<float> final_norm_;  // [H]
  std::optional<MtpWeights> mtp_;
  std::vector<Int8Copy> int8_copies_;
};

}  // namespace qround
