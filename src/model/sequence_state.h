// What a network remembers of one sequence: keys and values of attention layers, convolution
// history and recurrent state of Gated DeltaNet layers. Prefill in any pieces, single-token decode
// and verified drafts continue the same state, with the same bits.
//
// Tentative tokens are taken back at no cost but their own: keys and values by forgetting rows, the
// recurrent state by never having written them. It stays as it was before them, beside each
// tentative token's (key, change, decay); what is accepted is applied in the next pass, which reads
// and writes the state once as always.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/kv_pages.h"
#include "model/model_config.h"
#include "ops/gated_delta_rule.h"

namespace qround {

// What the newest tokens would do to a recurrent state: ops::DeltaRuleUpdates.
struct TentativeRows {
  std::vector<float> keys;    // [., Hk, Dk]
  std::vector<float> change;  // [., Hv, Dv]
  std::vector<float> decay;   // [., Hv]
};

struct DeltaNetState {
  std::vector<float> conv_history;  // [Kc - 1, C], oldest first
  std::vector<float> recurrent;     // [Hv, Dk, Dv], without the tokens of the rows below
  std::vector<float> conv_inputs;   // [., C] of the tentative tokens
  // Of accepted tokens that are still to be applied, and of tentative ones, in turns.
  std::array<TentativeRows, 2> rows;
};

// A copy of what is not in pages.
struct RecurrentCopy {
  std::vector<float> values;
};

class SequenceState {
 public:
  // The state before the first token, of the whole network, with keys and values of its own.
  explicit SequenceState(const ModelConfig& config);
  // Of layers with these mixers. `pool` has as many layers as there are attention layers.
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

  // For the blocks' forward pass alone.
  KvPages& mutable_pages() { return pages_; }
  DeltaNetState& delta_net(int64_t index) { return delta_nets_[static_cast<size_t>(index)]; }
  ops::DeltaRuleUpdates owed_updates(int64_t index) const;
  TentativeRows& tentative_rows(int64_t index) {
    return delta_net(index).rows[static_cast<size_t>(1 - owed_rows_)];
  }
  void begin(int64_t count);                   // makes room for `count` more tokens
  void end(int64_t count, bool is_tentative);  // they are in every layer now

 private:
  int64_t conv_row_ = 0, conv_rows_ = 0;  // C, Kc - 1
  int64_t key_row_ = 0, value_row_ = 0, heads_ = 0;
  KvPages pages_;
  std::vector<DeltaNetState> delta_nets_;
  int64_t tokens_ = 0, tentative_ = 0, owed_ = 0, max_tentative_ = 0;
  int owed_rows_ = 0;  // which DeltaNetState::rows hold what is owed
};

// A pool for `max_pages` pages of a network's keys and values, or of its MTP head's.
std::shared_ptr<KvPool> make_kv_pool(const ModelConfig& config, std::span<const MixerKind> mixers,
                                     int64_t max_pages);

// Floats of one sequence's recurrent state (in a RecurrentCopy too), and of each tentative token.
int64_t recurrent_floats(const ModelConfig& config);
int64_t tentative_floats(const ModelConfig& config);

// Mixers of the MTP head: one attention layer.
std::span<const MixerKind> mtp_mixers();

}  // namespace qround
