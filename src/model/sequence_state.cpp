#include "model/sequence_state.h"

#include <algorithm>
#include <cassert>

namespace qround {
namespace {

int64_t count_of(std::span<const MixerKind> mixers, MixerKind kind) {
  return std::count(mixers.begin(), mixers.end(), kind);
}

}  // namespace

ops::DeltaNetShape delta_net_shape(const ModelConfig& config) {
  const DeltaNetConfig& d = config.delta_net;
  return {.key_heads = d.key_heads,
          .value_heads = d.value_heads,
          .key_dim = d.key_dim,
          .value_dim = d.value_dim,
          .taps = d.conv_taps};
}

SequenceState::SequenceState(const ModelConfig& config, const ops::Memory& memory)
    : SequenceState(config, config.mixers,
                    make_kv_pool(config, config.mixers, pages_for(config.max_positions), memory)) {}

SequenceState::SequenceState(const ModelConfig& config, std::span<const MixerKind> mixers,
                             std::shared_ptr<KvPool> pool)
    : shape_(delta_net_shape(config)),
      delta_nets_(count_of(mixers, MixerKind::delta_net)),
      pages_(std::move(pool)),
      recurrent_(pages_.pool().memory(), delta_nets_ * shape_.state_floats()) {
  recurrent_.fill_zero();
}

void SequenceState::reserve(int64_t most, int64_t context) {
  pages_.reserve(context);
  if (most <= max_tentative_) return;
  max_tentative_ = most;
  rows_ = {pages_.pool().memory(), delta_nets_ * most * shape_.row_floats()};
}

void SequenceState::accept(int64_t count) {
  assert(count <= tentative_);
  tokens_ -= tentative_ - count;
  owed_ = delta_nets_ == 0 ? 0 : count;
  tentative_ = 0;
}

void SequenceState::truncate(int64_t tokens) {
  assert(delta_nets_ == 0 && tokens <= tokens_);
  tokens_ = tokens;
  tentative_ = 0;
}

void SequenceState::clear() {
  pages_.truncate(0);
  recurrent_.fill_zero();
  tokens_ = tentative_ = owed_ = 0;
}

RecurrentCopy SequenceState::recurrent_copy() const {
  assert(owed_ == 0 && tentative_ == 0);
  RecurrentCopy copy{{pages_.pool().memory(), recurrent_.size()}};
  copy.values.copy_from(recurrent_);
  return copy;
}

void SequenceState::restore(const KvPages& pages, const RecurrentCopy& copy, int64_t tokens) {
  recurrent_.copy_from(copy.values);
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
  if (is_tentative) owed_set_ = 1 - owed_set_;
}

ops::SequencePlace SequenceState::place(int64_t first_row, int64_t count, bool is_tentative) {
  return {.first_row = first_row,
          .tokens = count,
          .context = tokens_,
          .pages = pages_.table(),
          .delta_net = {.state = recurrent_.data(),
                        .rows = rows_.data(),
                        .most_rows = max_tentative_,
                        .owed = static_cast<int32_t>(owed_),
                        .owed_set = owed_set_},
          .tentative = is_tentative};
}

std::shared_ptr<KvPool> make_kv_pool(const ModelConfig& config, std::span<const MixerKind> mixers,
                                     int64_t max_pages, const ops::Memory& memory) {
  return std::make_shared<KvPool>(count_of(mixers, MixerKind::attention),
                                  config.attention.kv_heads * config.attention.head_dim, max_pages,
                                  memory);
}

int64_t recurrent_floats(const ModelConfig& config) {
  return count_of(config.mixers, MixerKind::delta_net) * delta_net_shape(config).state_floats();
}

int64_t tentative_floats(const ModelConfig& config) {
  return count_of(config.mixers, MixerKind::delta_net) * delta_net_shape(config).row_floats();
}

std::span<const MixerKind> mtp_mixers() {
  static constexpr MixerKind kMixers[] = {MixerKind::attention};
  return kMixers;
}

}  // namespace qround
