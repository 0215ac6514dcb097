// What a network remembers of one sequence: keys and values of attention layers, convolution
// history and recurrent state of Gated DeltaNet layers. All of it lies in the memory of the backend
// that runs the network, and only its operations touch it (ops/sequences.h). Prefill in any pieces,
// single-token decode and verified drafts continue the same state, with the same bits.
//
// Tentative tokens are taken back at no cost but their own: keys and values by forgetting rows, the
// recurrent state by never having written them. It stays as it was before them, beside each
// tentative token's (key, change, decay); what is accepted is applied in the next pass, which reads
// and writes the state once as always.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "model/kv_pages.h"
#include "model/model_config.h"
#include "ops/sequences.h"

namespace qround {

// A copy of what is not in pages.
struct RecurrentCopy {
  ops::Buffer<float> values;  // DeltaNetMemory::state
};

class SequenceState {
 public:
  // The state before the first token, of the whole network, with keys and values of its own.
  explicit SequenceState(const ModelConfig& config, const ops::Memory& memory = ops::host_memory());
  // Of layers with these mixers. `pool` has as many layers as there are attention layers; its
  // memory is the state's.
  SequenceState(const ModelConfig& config, std::span<const MixerKind> mixers,
                std::shared_ptr<KvPool> pool);

  // Tokens taken in, tentative ones included: the number of rows of keys and values.
  int64_t tokens() const { return tokens_; }
  int64_t tentative() const { return tentative_; }
  int64_t max_tentative() const { return max_tentative_; }

  // Room for `most` tentative tokens at a time and for `context` tokens in all, so that taking them
  // in allocates nothing.
  void reserve(int64_t most, int64_t context);
  // Of the tentative tokens, the first `count` are part of the sequence, the others never were.
  // Needed before more tokens are taken in.
  void accept(int64_t count);
  // Forgets all but the first `tokens` tokens. For states without Gated DeltaNet layers.
  void truncate(int64_t tokens);
  // Takes the pages that `tokens` tokens need now rather than when they come. Throws Error
  // (resource).
  void take_pages(int64_t tokens) { pages_.grow(tokens); }
  // Back to the state before the first token; keeps its memory, except for pages.
  void clear();

  // Needs !owes_updates() (Model::settle) and no tentative tokens.
  RecurrentCopy recurrent_copy() const;
  // Goes on from the first `tokens` tokens of a sequence that had these pages and this copy.
  void restore(const KvPages& pages, const RecurrentCopy& copy, int64_t tokens);
  // Accepted tokens that are not applied to the recurrent state yet.
  bool owes_updates() const { return owed_ > 0; }

  const KvPages& pages() const { return pages_; }

  // For a forward pass alone: where operations find it, its next rows being [first_row, first_row +
  // count) of a batch. Needs begin(count).
  ops::SequencePlace place(int64_t first_row, int64_t count, bool is_tentative);
  void begin(int64_t count);                   // makes room for `count` more tokens
  void end(int64_t count, bool is_tentative);  // they are in every layer now

 private:
  ops::DeltaNetShape shape_;  // of its layers
  int64_t delta_nets_ = 0;    // layers
  KvPages pages_;
  ops::Buffer<float> recurrent_;  // DeltaNetMemory::state
  ops::Buffer<float> rows_;       // DeltaNetMemory::rows
  int64_t tokens_ = 0, tentative_ = 0, owed_ = 0, max_tentative_ = 0;
  int owed_set_ = 0;
};

// A pool for `max_pages` pages of a network's keys and values, or of its MTP head's.
std::shared_ptr<KvPool> make_kv_pool(const ModelConfig& config, std::span<const MixerKind> mixers,
                                     int64_t max_pages,
                                     const ops::Memory& memory = ops::host_memory());

ops::DeltaNetShape delta_net_shape(const ModelConfig& config);

// Floats of one sequence's recurrent state (in a RecurrentCopy too), and of each tentative token.
int64_t recurrent_floats(const ModelConfig& config);
int64_t tentative_floats(const ModelConfig& config);

// Mixers of the MTP head: one attention layer.
std::span<const MixerKind> mtp_mixers();

}  // namespace qround
