// A small block with random weights, for tests that need no reference values.
#pragma once

#include <deque>
#include <random>
#include <vector>

#include "base/half.h"
#include "model/block_weights.h"

namespace qround {

class RandomBlock {
 public:
  // `bf16_values`: the elements of linear maps are values that BF16 holds.
  RandomBlock(MixerKind mixer, bool moe, bool bf16_values = false)
      : mixer_(mixer), bf16_values_(bf16_values) {
    config_.hidden = 40;
    config_.attention = {
        .heads = 4, .kv_heads = 2, .head_dim = 12, .rotary_dim = 4, .rope_theta = 1e4};
    config_.delta_net = {
        .key_heads = 2, .value_heads = 4, .key_dim = 8, .value_dim = 12, .conv_taps = 4};
    if (moe) {
      config_.moe = MoeConfig{.experts = 5, .chosen = 2, .expert_width = 24, .shared_width = 16};
    } else {
      config_.dense_width = 56;
    }
    const int64_t h = config_.hidden;
    weights_.input_norm = values(static_cast<size_t>(h));
    weights_.post_attention_norm = values(static_cast<size_t>(h));
    weights_.mixer = mixer == MixerKind::attention
                         ? decltype(weights_.mixer)(attention(config_.attention, h))
                         : decltype(weights_.mixer)(delta_net(config_.delta_net, h));
    if (moe) {
      weights_.feed_forward = mixture(*config_.moe, h);
    } else {
      weights_.feed_forward = swiglu(config_.dense_width, h);
    }
  }
  RandomBlock(const RandomBlock&) = delete;  // weights_ point into storage_
  RandomBlock& operator=(const RandomBlock&) = delete;

  const ModelConfig& config() const { return config_; }
  MixerKind mixer() const { return mixer_; }
  const BlockWeights& weights() const { return weights_; }
  // Where the elements of a weight lie.
  static float* elements(const ops::Weight& weight) {
    return const_cast<float*>(static_cast<const float*>(std::get<ops::DenseWeight>(weight).data));
  }

  std::vector<float> values(size_t count) const {
    std::normal_distribution<float> normal(0, 0.5f);
    std::vector<float> all(count);
    for (float& value : all) value = normal(generator_);
    return all;
  }

 private:
  ops::Weight matrix(int64_t n, int64_t k) {
    storage_.push_back(values(static_cast<size_t>(n * k)));
    if (bf16_values_)
      for (float& value : storage_.back()) value = bf16_to_f32(f32_to_bf16(value));
    return ops::DenseWeight{.dtype = DType::f32, .data = storage_.back().data(), .n = n, .k = k};
  }
  ops::SwigluWeights swiglu(int64_t width, int64_t h) {
    return {.gate = matrix(width, h), .up = matrix(width, h), .down = matrix(h, width)};
  }
  AttentionWeights attention(const AttentionConfig& a, int64_t h) {
    const int64_t query_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
    const auto head_dim = static_cast<size_t>(a.head_dim);
    return {.q_proj = matrix(2 * query_width, h),
            .k_proj = matrix(kv_width, h),
            .v_proj = matrix(kv_width, h),
            .o_proj = matrix(h, query_width),
            .q_norm = values(head_dim),
            .k_norm = values(head_dim)};
  }
  DeltaNetWeights delta_net(const DeltaNetConfig& d, int64_t h) {
    const auto value_heads = static_cast<size_t>(d.value_heads);
    return {.in_proj_qkv = matrix(d.conv_channels(), h),
            .in_proj_z = matrix(d.value_width(), h),
            .in_proj_b = matrix(d.value_heads, h),
            .in_proj_a = matrix(d.value_heads, h),
            .out_proj = matrix(h, d.value_width()),
            .conv1d = values(static_cast<size_t>(d.conv_channels() * d.conv_taps)),
            .a_log = values(value_heads),
            .dt_bias = values(value_heads),
            .norm = values(static_cast<size_t>(d.value_dim))};
  }
  MoeWeights mixture(const MoeConfig& moe, int64_t h) {
    MoeWeights weights;
    weights.router = matrix(moe.experts, h);
    for (int64_t expert = 0; expert < moe.experts; ++expert)
      weights.experts.push_back(swiglu(moe.expert_width, h));
    weights.shared = swiglu(moe.shared_width, h);
    weights.shared_expert_gate = matrix(1, h);
    return weights;
  }

  MixerKind mixer_;
  bool bf16_values_;
  ModelConfig config_;
  BlockWeights weights_;
  std::deque<std::vector<float>> storage_;
  mutable std::mt19937 generator_{7};
};

}  // namespace qround
