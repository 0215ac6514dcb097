// What a network remembers of one sequence: keys and values of attention layers, convolution
// history and recurrent state of Gated DeltaNet layers. Prefill in any pieces and single-token
// decode continue the same state.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "model/model_config.h"

namespace qround {

struct AttentionState {
  std::vector<float> keys, values;  // [capacity, Hkv, D]; the first `tokens` rows are filled
  int64_t tokens = 0;

  // Makes room for `count` more tokens of `row` floats; capacity doubles.
  void reserve_more(int64_t count, int64_t row);
  // Forgets all but the first `count` tokens.
  void truncate(int64_t count) { tokens = count; }
};

struct DeltaNetState {
  std::vector<float> conv_history;  // [Kc - 1, C], oldest first
  std::vector<float> recurrent;     // [Hv, Dk, Dv]
};

using BlockState = std::variant<AttentionState, DeltaNetState>;

// The state before the first token.
BlockState empty_block_state(const ModelConfig& config, MixerKind mixer);

struct SequenceState {
  std::vector<BlockState> blocks;  // one per text layer
  int64_t tokens = 0;              // processed so far: the position of the next token

  explicit SequenceState(const ModelConfig& config);
};

}  // namespace qround
