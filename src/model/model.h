// A network ready to run: weights mapped from a checkpoint or copied from there into the memory of
// the backend that runs it, forward pass, MTP head.
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
  ParameterVector final_norm;  // [H]
};

// Immutable after loading; several threads may run it, each with its own Executor and states, whose
// memory must be the model's. Activations lie in that memory too.
class Model {
 public:
  enum class Parts { all, outside_blocks };

  // The checkpoint may be BF16, F16, F32 or int4, experts fused or not. Throws Error listing what
  // does not fit.
  static Model load(std::shared_ptr<const Checkpoint> checkpoint);
  // The model with its weights in `memory`; in host memory they stay where they are mapped. Of
  // Parts::outside_blocks everything but forward() works. Throws Error (resource) that says what is
  // needed when that is more than `most_bytes` (0: no limit of its own) or than there is.
  Model in(const ops::Memory& memory, Parts parts = Parts::all, uint64_t most_bytes = 0) const;

  // Takes copies in int8 of the maps that are BF16, but for routed experts, routers and maps of few
  // outputs: half the bytes to read, for Activations::int8. Once, before anything runs.
  void use_int8_copies(Threads threads);
  uint64_t int8_copy_bytes() const;

  const ModelConfig& config() const { return config_; }
  const TensorTable& table() const { return table_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  bool has_mtp() const { return mtp_.has_value(); }
  const ops::Weight& lm_head() const { return lm_head_; }  // [vocab, H]
  // The same where the checkpoint is mapped.
  const ops::Weight& mapped_lm_head() const { return mapped_lm_head_; }
  const ops::Memory& memory() const { return *memory_; }
  // What the weights take in a memory other than the host's.
  uint64_t copied_bytes() const { return copied_bytes_; }

  const BlockWeights& block(int64_t index) const { return blocks_[static_cast<size_t>(index)]; }

  // The parts of forward(), for callers that run block after block over many sequences: rows of the
  // embedding of ids into out [T, H], in host memory and of a model there; the final norm over
  // hidden [rows, H] in place. Throws Error for an id outside the vocabulary.
  void embed(std::span<const int32_t> ids, float* out) const;
  void normalize(int64_t rows, float* hidden, const Executor& executor) const;

  // The residual stream at a point of the forward pass, for oracles: level 0 is the embeddings,
  // level L the output of layer L - 1, one more than the number of layers the final norm. [T, H] in
  // host memory.
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
  // The same with next_ids [T] in the model's memory, as an operation left them there.
  void mtp_forward_from(const int32_t* next_ids, const float* hidden,
                        std::span<const SequenceRows> batch, float* out,
                        const Executor& executor) const;
  // The network's state before the first token, in the model's memory.
  SequenceState empty_state() const { return SequenceState(config_, *memory_); }
  // The head's state before its first row.
  SequenceState empty_mtp_state() const;

 private:
  Model() = default;
  void check_ids(std::span<const int32_t> ids) const;
  void embed(const int32_t* ids, int64_t rows, float* out, const Executor& executor) const;
  void run_text(const BatchView& view, float* hidden, const Executor& executor,
                const Observer& observer) const;
  void run_mtp(const BatchView& view, const int32_t* next_ids, const float* hidden, float* out,
               const Executor& executor) const;
  void enqueue_mtp(const BatchView& view, const int32_t* next_ids, const float* hidden, float* out,
                   const Executor& executor) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  TensorTable table_;
  ops::Weight embedding_;  // [vocab, H]
  ops::Weight lm_head_;    // [vocab, H]
  ops::Weight mapped_lm_head_;
  std::vector<BlockWeights> blocks_;
  ParameterVector final_norm_;  // [H]
  std::optional<MtpWeights> mtp_;
  std::vector<std::shared_ptr<const Int8Copy>> int8_copies_;  // shared by copies of the model
  const ops::Memory* memory_ = &ops::host_memory();
  std::shared_ptr<const ops::Buffer<std::byte>> copies_;  // what the weights point into, or null
  uint64_t copied_bytes_ = 0;
};

}  // namespace qround
