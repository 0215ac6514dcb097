// One decoder block by itself, forward and backward, for tuning its linear maps.
//
// A batch is B independent sequences of L tokens (T = B * L rows, sequence after sequence), each
// starting at position 0 with empty states. Gradients stop at the block's input: dx is made only on
// request. Weight gradients are handed out tile by tile and never stored.
//
// Kept from forward to backward are the outputs of the linear maps that cannot be made again
// cheaply: projections of the mixer, the mixer's result before its gate, the residual stream in the
// middle, routing, gate and up outputs of every (token, expert) pair. Norms, convolution, rotary
// embedding, gates, the recurrence's states, attention probabilities and everything gathered by
// expert are made again in the backward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "model/block.h"
#include "model/block_weights.h"
#include "model/tensor_table.h"
#include "ops/memory.h"
#include "ops/weight_gradient.h"

namespace qround {

struct TrainingBatch {
  int64_t sequences = 0, length = 0;  // B, L
  int64_t tokens() const { return sequences * length; }
};

// A linear map of a block.
struct LinearId {
  Role role = Role::q_proj;
  int64_t expert = -1;  // of expert_* alone
  bool operator==(const LinearId&) const = default;
};

// Gradients of the parameters that are no linear maps, made by backward in the backend's memory.
// Those of the other mixer stay empty.
struct VectorGradients {
  ops::Buffer<float> input_norm, post_attention_norm;
  ops::Buffer<float> q_norm, k_norm;
  ops::Buffer<float> conv1d, a_log, dt_bias, delta_net_norm;
};

// Turns weight gradients into steps of rounding parameters where they arise.
struct BlockUpdate {
  ops::SignRoundRule rule;
  const ops::SignRoundStepSizes* sizes = nullptr;  // in the backend's memory
  // Asked for every map that is wanted.
  std::function<ops::SignRoundTarget(LinearId)> target;
};

// What a backward pass delivers.
struct BlockGradients {
  // Asked for every linear map; the gradients of those it declines are not computed.
  std::function<bool(LinearId)> wants;
  // Called from several threads, as ops::WeightGradientConsumer says. By then the backward pass has
  // read that map's weight for the last time: the consumer may change it. Experts without tokens
  // get no call: their gradient is zero.
  std::function<void(LinearId, const ops::WeightGradientTile&)> consume;
  const BlockUpdate* update = nullptr;  // in place of `consume`
  float* dx = nullptr;                 // [T, H], or null: not computed
  VectorGradients* vectors = nullptr;  // or null: not computed
};

struct AttentionActivations {
  ops::Buffer<float> joined;        // [T, Hq, 2D]: output of q_proj
  ops::Buffer<float> keys, values;  // [T, Hkv, D]: outputs of k_proj and v_proj
  ops::Buffer<float> mixed;         // [T, Hq, D]: before the gate
  // Of the rotary embedding; they stay the same.
  ops::Buffer<int64_t> positions;          // [T]
  ops::Buffer<float> inverse_frequencies;  // [R/2]
};

struct DeltaNetActivations {
  ops::Buffer<float> qkv;   // [T, C]: before the convolution
  ops::Buffer<float> z;     // [T, Hv, Dv]
  ops::Buffer<float> b, a;  // [T, Hv]
  ops::Buffer<float> read;  // [T, Hv, Dv]: before the gated norm
};

struct SwigluActivations {
  ops::Buffer<float> gate, up;  // [T, I]
};

struct MoeActivations {
  ops::Buffer<int32_t> chosen;      // [T, A]
  ops::Buffer<float> weights;       // [T, A]
  ops::Buffer<int64_t> first_rows;  // [E + 1], as ExpertGroups::begin
  ops::Buffer<int32_t> choices;     // [T * A], as ExpertGroups::choices
  ops::Buffer<int64_t> totals;      // [E]: tokens of each expert in all forward passes
  SwigluActivations experts;        // [T * A, I], grouped
  SwigluActivations shared;         // [T, shared width]
  ops::Buffer<float> shared_gate;   // [T]: before the sigmoid

  ops::ExpertGroups groups() { return {first_rows.data(), choices.data()}; }
};

struct BlockActivations {
  ops::Buffer<float> middle;  // [T, H]: the residual stream after the mixer
  std::variant<AttentionActivations, DeltaNetActivations> mixer;
  std::variant<MoeActivations, SwigluActivations> feed_forward;
};

// Owns the activations, in a backend's memory, where all operands lie; config and weights are the
// caller's. One forward, then at most one
// backward, which uses the activations up.
class BlockTraining {
 public:
  // `memory` is that of the backend all passes run on.
  BlockTraining(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                const ops::Memory& memory = ops::host_memory());

  // y [T, H] = block(x); x [T, H] is not y.
  void forward(const BlockWeights& weights, const float* x, float* y, const Executor& executor);

  // x as given to forward, dy [T, H] = dL/dy; weights as in forward.
  void backward(const BlockWeights& weights, const float* x, const float* dy,
                const BlockGradients& gradients, const Executor& executor);

  // Tokens each expert got in all forward passes together; empty for a dense feed-forward. Waits
  // for them.
  std::vector<int64_t> expert_tokens(ops::Stream* stream = nullptr) const;

  const TrainingBatch& batch() const { return batch_; }
  // What the last forward pass kept.
  const BlockActivations& activations() const { return saved_; }

 private:
  const ModelConfig& config_;
  MixerKind mixer_;
  TrainingBatch batch_;
  BlockActivations saved_;
};

}  // namespace qround
