#include "model/sequence_state.h"

#include <algorithm>
#include <cassert>

namespace qround {
namespace {

int64_t count_of(std::span<const MixerKind> mixers, MixerKind kind) {
  return std::count(mixers.begin(), mixers.end(), kind);
}

std::vector<float> zeros(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count), 0.0f);
}

}  // namespace

SequenceState::SequenceState(const ModelConfig& config)
    : SequenceState(config, config.mixers,
                    make_kv_pool(config, config.mixers, pages_for(config.max_positions))) {}

SequenceState::SequenceState(const ModelConfig& config, std::span<const MixerKind> mixers,
                             std::shared_ptr<KvPool> pool)
    : pages_(std::move(pool)),
      delta_nets_(static_cast<size_t>(count_of(mixers, MixerKind::delta_net))) {
  const DeltaNetConfig& d = config.delta_net;
  if (delta_nets_.empty()) return;
  conv_row_ = d.conv_channels();
  conv_rows_ = d.conv_taps - 1;
  key_row_ = d.key_width();
  value_row_ = d.value_width();
  heads_ = d.value_heads;
  for (DeltaNetState& state : delta_nets_) {
    state.conv_history = zeros(conv_rows_ * conv_row_);
    state.recurrent = zeros(d.value_heads * d.key_dim * d.value_dim);
  }
}

void SequenceState::reserve(int64_t most, int64_t context) {
  pages_.reserve(context);
  if (most <= max_tentative_) return;
  max_tentative_ = most;
  for (DeltaNetState& state : delta_nets_) {
    state.conv_inputs.resize(static_cast<size_t>(most * conv_row_));
    for (TentativeRows& rows : state.rows) {
      rows.keys.resize(static_cast<size_t>(most * key_row_));
      rows.change.resize(static_cast<size_t>(most * value_row_));
      rows.decay.resize(static_cast<size_t>(most * heads_));
    }
  }
}

void SequenceState::accept(int64_t count) {
  assert(count <= tentative_);
  for (DeltaNetState& state : delta_nets_) {
    // The newest conv_rows_ of the history and the accepted inputs, oldest first.
    float* history = state.conv_history.data();
    for (int64_t row = 0; row < conv_rows_; ++row) {
      const int64_t from = row + count;
      const float* source = from < conv_rows_
                                ? history + from * conv_row_
                                : state.conv_inputs.data() + (from - conv_rows_) * conv_row_;
      if (count > 0) std::copy_n(source, conv_row_, history + row * conv_row_);
    }
  }
  tokens_ -= tentative_ - count;
  owed_ = delta_nets_.empty() ? 0 : count;
  tentative_ = 0;
}

void SequenceState::truncate(int64_t tokens) {
  assert(delta_nets_.empty() && tokens <= tokens_);
  tokens_ = tokens;
  tentative_ = 0;
}

void SequenceState::clear() {
  pages_.truncate(0);
  for (DeltaNetState& state : delta_nets_) {
    std::fill(state.conv_history.begin(), state.conv_history.end(), 0.0f);
    std::fill(state.recurrent.begin(), state.recurrent.end(), 0.0f);
  }
  tokens_ = tentative_ = owed_ = 0;
}

RecurrentCopy SequenceState::recurrent_copy() const {
  assert(owed_ == 0 && tentative_ == 0);
  RecurrentCopy copy;
  for (const DeltaNetState& state : delta_nets_) {
    copy.values.insert(copy.values.end(), state.conv_history.begin(), state.conv_history.end());
    copy.values.insert(copy.values.end(), state.recurrent.begin(), state.recurrent.end());
  }
  return copy;
}

void SequenceState::restore(const KvPages& pages, const RecurrentCopy& copy, int64_t tokens) {
  const float* from = copy.values.data();
  const auto fill = [&](std::vector<float>& values) {
    std::copy_n(from, values.size(), values.begin());
    from += values.size();
  };
  for (DeltaNetState& state : delta_nets_) {
    fill(state.conv_history);
    fill(state.recurrent);
  }
  pages_ = pages.continued(tokens);
  tokens_ = tokens;
  tentative_ = owed_ = 0;
}

void SequenceState::begin(int64_t count) {
  assert(tentative_ == 0);
  pages_.grow(tokens_ + count);
}

void SequenceState::end(int64_t count, bool is_tentative) {
  tokens_ += count;
  tentative_ = is_tentative ? count : 0;
  owed_ = 0;
  if (is_tentative) owed_rows_ = 1 - owed_rows_;
}

ops::DeltaRuleUpdates SequenceState::owed_updates(int64_t index) const {
  const TentativeRows& rows =
      delta_nets_[static_cast<size_t>(index)].rows[static_cast<size_t>(owed_rows_)];
  return {.k = rows.keys.data(),
          .change = rows.change.data(),
          .decay = rows.decay.data(),
          .tokens = owed_};
}

std::shared_ptr<KvPool> make_kv_pool(const ModelConfig& config, std::span<const MixerKind> mixers,
                                     int64_t max_pages) {
  return std::make_shared<KvPool>(count_of(mixers, MixerKind::attention),
                                  config.attention.kv_heads * config.attention.head_dim, max_pages);
}

int64_t recurrent_floats(const ModelConfig& config) {
  const DeltaNetConfig& d = config.delta_net;
  const int64_t history = (d.conv_taps - 1) * d.conv_channels();
  return count_of(config.mixers, MixerKind::delta_net) *
         (history + d.value_heads * d.key_dim * d.value_dim);
}

int64_t tentative_floats(const ModelConfig& config) {
  const DeltaNetConfig& d = config.delta_net;
  return count_of(config.mixers, MixerKind::delta_net) *
         (d.conv_channels() + d.key_width() + d.value_width() + d.value_heads);
}

std::span<const MixerKind> mtp_mixers() {
  static constexpr MixerKind kMixers[] = {MixerKind::attention};
  return kMixers;
}

}  // namespace qround
