// The sums follow the passes of block_training.cpp and its parts, in floats: what a pass holds at
// the same time is added, what follows one another is compared.
#include "model/training_memory.h"

#include <algorithm>

#include "model/training_parts.h"

namespace qround {
namespace {

constexpr int64_t kMegafloat = int64_t{1} << 20;
// Operations' own scratch per thread beyond what is counted below: strips of weights, a tile of a
// weight gradient with its operands, blocks of attention.
constexpr int64_t kFloatsPerThread = kMegafloat + kMegafloat / 2;
// Rounding of every piece of scratch to cache lines.
constexpr int64_t kRounding = 64 * 1024;

class ScratchSum {
 public:
  ScratchSum(const ModelConfig& config, TrainingBatch batch, int64_t threads,
             ops::Activations activations)
      : c_(config),
        batch_(batch),
        t_(batch.tokens()),
        threads_(threads),
        bf16_(activations == ops::Activations::bf16) {}

  int64_t block(MixerKind mixer) const {
    const bool attention = mixer == MixerKind::attention;
    const int64_t forward =
        t_ * c_.hidden + std::max(attention ? attention_forward() : delta_net_forward(),
                                  c_.moe ? moe_forward() : t_ * c_.dense_width);
    const int64_t backward =
        3 * t_ * c_.hidden + std::max(attention ? attention_backward() : delta_net_backward(),
                                      c_.moe ? moe_backward() : dense_backward(c_.dense_width));
    return std::max(forward, backward) + threads_ * kFloatsPerThread + kRounding;
  }

 private:
  int64_t query_width() const { return c_.attention.heads * c_.attention.head_dim; }
  int64_t kv_width() const { return c_.attention.kv_heads * c_.attention.head_dim; }
  // Positions, frequencies and the table of angles.
  int64_t rotary() const { return t_ * (2 + c_.attention.rotary_dim) + c_.attention.rotary_dim; }
  int64_t heads() const { return rotary() + t_ * (3 * query_width() + kv_width()); }

  // Rows rounded for a linear map or its gradient.
  int64_t rounded(int64_t rows, int64_t width) const { return bf16_ ? rows * (width + 1) / 2 : 0; }

  int64_t attention_forward() const {
    return heads() + batch_.length * c_.attention.heads * (c_.attention.head_dim + 2) +
           rounded(t_, std::max(c_.hidden, query_width()));
  }
  int64_t attention_backward() const {
    const int64_t held = heads() + t_ * (3 * query_width() + 2 * kv_width());
    const int64_t dim = c_.attention.head_dim, tile = 64;
    const int64_t tiles = (batch_.length + tile - 1) / tile;
    const int64_t scores = 2 * tiles * (dim + tile) * tile + 2 * tile * dim + tile * tile;
    const int64_t gradients = std::max(packed(c_.hidden) + packed(query_width()),
                                       rounded(t_, std::max(c_.hidden, 2 * query_width())));
    return held + std::max(threads_ * scores, gradients);
  }

  // What the recurrence reads, for the sequences taken at once.
  int64_t stretch(int64_t tokens) const {
    const DeltaNetConfig& d = c_.delta_net;
    return tokens * (d.conv_channels() + 2 * d.key_width() + 2 * d.value_heads) +
           d.conv_taps * d.conv_channels();
  }
  int64_t stretch_tokens() const { return std::min(t_, std::max(kTokensAtOnce, batch_.length)); }
  int64_t delta_net_forward() const {
    const DeltaNetConfig& d = c_.delta_net;
    const int64_t sequences = stretch_tokens() / batch_.length;
    const int64_t recurrence =
        d.value_heads * (sequences * d.key_dim * d.value_dim + batch_.length) +
        threads_ * d.key_dim * 64;
    return std::max(stretch(stretch_tokens()) + recurrence, t_ * d.value_width()) +
           rounded(t_, std::max(c_.hidden, d.value_width()));
  }
  int64_t delta_net_backward() const {
    const DeltaNetConfig& d = c_.delta_net;
    const int64_t tokens = stretch_tokens();
    const int64_t chunk = 64, chunks = (batch_.length + chunk - 1) / chunk;
    const int64_t state = d.key_dim * d.value_dim;
    const int64_t group = d.value_heads / d.key_heads;
    const int64_t kept = state + chunk * chunk + 2 * chunk * d.value_dim;
    const int64_t per_thread = group * (chunks * kept + state) + 5 * chunk * chunk +
                               chunk * (8 * d.key_dim + 3 * d.value_dim + 5) +
                               std::max(state, chunk * d.value_dim);
    const int64_t rule =
        stretch(tokens) + tokens * (d.conv_channels() + 2 * d.value_heads) + threads_ * per_thread;
    return 2 * t_ * d.value_width() +
           std::max({rule, packed(c_.hidden) + packed(d.value_width()),
                     rounded(t_, std::max(c_.hidden, d.conv_channels()))});
  }

  // A copy of a weight gradient's input, T rows.
  int64_t packed(int64_t width) const { return t_ * ((width + 63) / 64 * 64); }

  int64_t dense_backward(int64_t width) const {
    return 2 * t_ * width +
           std::max(packed(c_.hidden) + packed(width), rounded(t_, std::max(c_.hidden, width)));
  }

  // Gathered rows of the experts taken at once.
  int64_t wave_rows() const {
    const int64_t budget = 8 * kMegafloat / c_.hidden;
    return std::min(t_ * c_.moe->chosen, std::max(budget, t_));
  }
  int64_t moe_forward() const {
    const int64_t experts =
        std::max(t_ * c_.moe->experts, wave_rows() * (c_.hidden + c_.moe->expert_width) +
                                           rounded(wave_rows(), c_.hidden + c_.moe->expert_width));
    return std::max(experts, t_ * (c_.hidden + c_.moe->shared_width) +
                                 rounded(t_, std::max(c_.hidden, c_.moe->shared_width)));
  }
  int64_t moe_backward() const {
    const int64_t width = c_.moe->expert_width;
    const int64_t gathered = wave_rows() * (4 * c_.hidden + 2 * width);
    const int64_t experts = gathered + rounded(wave_rows(), c_.hidden + 2 * width);
    const int64_t shared = t_ + dense_backward(c_.moe->shared_width);
    const int64_t router = t_ * c_.moe->experts + packed(c_.hidden);
    return t_ * c_.moe->chosen + std::max({experts, shared, router});
  }

  const ModelConfig& c_;
  TrainingBatch batch_;
  int64_t t_, threads_;
  bool bf16_;
};

int64_t activation_floats(const ModelConfig& c, MixerKind mixer, int64_t tokens) {
  int64_t per_token = c.hidden;
  if (mixer == MixerKind::attention) {
    per_token += (3 * c.attention.heads + 2 * c.attention.kv_heads) * c.attention.head_dim;
  } else {
    per_token +=
        c.delta_net.conv_channels() + 2 * c.delta_net.value_width() + 2 * c.delta_net.value_heads;
  }
  if (c.moe) {
    // Chosen experts, their weights and the grouping are 4 bytes a choice each.
    per_token += c.moe->chosen * (3 + 2 * c.moe->expert_width) + 2 * c.moe->shared_width + 1;
  } else {
    per_token += 2 * c.dense_width;
  }
  return tokens * per_token;
}

}  // namespace

TrainingMemory training_memory(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                               Threads threads, ops::Activations activations) {
  constexpr int64_t kFloat = sizeof(float);
  return {kFloat * activation_floats(config, mixer, batch.tokens()),
          kFloat * ScratchSum(config, batch, threads.count, activations).block(mixer)};
}

}  // namespace qround
