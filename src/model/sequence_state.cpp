#include "model/sequence_state.h"

#include <algorithm>

namespace qround {

void AttentionState::reserve_more(int64_t count, int64_t row) {
  const auto needed = static_cast<size_t>((tokens + count) * row);
  if (needed <= keys.size()) return;
  const size_t capacity = std::max(needed, 2 * keys.size());
  keys.resize(capacity);
  values.resize(capacity);
}

BlockState empty_block_state(const ModelConfig& config, MixerKind mixer) {
  if (mixer == MixerKind::attention) return AttentionState();
  const DeltaNetConfig& d = config.delta_net;
  DeltaNetState state;
  state.conv_history.assign(static_cast<size_t>((d.conv_taps - 1) * d.conv_channels()), 0.0f);
  state.recurrent.assign(static_cast<size_t>(d.value_heads * d.key_dim * d.value_dim), 0.0f);
  return state;
}

SequenceState::SequenceState(const ModelConfig& config) {
  for (const MixerKind mixer : config.mixers) blocks.push_back(empty_block_state(config, mixer));
}

}  // namespace qround
