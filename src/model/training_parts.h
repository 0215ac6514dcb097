// The two halves of a block in training, as block_training.cpp puts them together. Internal to it.
#pragma once

#include <algorithm>
#include <span>

#include "model/block_training.h"

namespace qround {

// DeltaNet takes sequences through convolution and recurrence a few at a time, this many tokens if
// one sequence is not longer, which bounds the memory of what is made again.
inline constexpr int64_t kTokensAtOnce = 4096;

// What every part of one pass gets.
struct TrainingPass {
  const ModelConfig& config;
  TrainingBatch batch;
  const Executor& run;

  int64_t tokens() const { return batch.tokens(); }
};

inline std::span<float> take_floats(ops::Workspace::Scope& scope, int64_t count) {
  return scope.take<float>(static_cast<size_t>(count));
}

// `values` as `count` zeros in the backend's memory; null stays null.
float* zeros(const TrainingPass& pass, ops::Buffer<float>* values, size_t count);

// sum += x, both [T, width].
void add_rows(const TrainingPass& pass, int64_t width, const float* x, float* sum);
// out = x, both [T, width].
void copy_rows(const TrainingPass& pass, int64_t width, const float* x, float* out);

// The weight gradients of one part, collected and then made in one parallel loop.
class GradientJobs {
 public:
  GradientJobs(const TrainingPass& pass, const BlockGradients& gradients)
      : pass_(pass), gradients_(gradients) {}

  // dW [N, K] = dyᵀ x of a dense x [T, K] and dy [T, N], if anybody wants it.
  void add(LinearId linear, const ops::Weight& weight, const float* x, const float* dy);
  void run();

 private:
  const TrainingPass& pass_;
  const BlockGradients& gradients_;
  std::vector<LinearId> linears_;
  std::vector<ops::WeightGradientJob> jobs_;
};

// Operands of a mixer's or feed-forward's backward pass.
struct PartGradients {
  const float* x = nullptr;      // [T, H]: what the part read, normed
  const float* d_out = nullptr;  // [T, H]
  float* dx = nullptr;           // [T, H], overwritten; null: not computed
  const BlockGradients& wanted;
};

void attention_training_forward(const TrainingPass& pass, const AttentionWeights& weights,
                                const float* x, AttentionActivations& saved, float* out);
void attention_training_backward(const TrainingPass& pass, const AttentionWeights& weights,
                                 AttentionActivations& saved, const PartGradients& gradients);

void delta_net_training_forward(const TrainingPass& pass, const DeltaNetWeights& weights,
                                const float* x, DeltaNetActivations& saved, float* out);
void delta_net_training_backward(const TrainingPass& pass, const DeltaNetWeights& weights,
                                 DeltaNetActivations& saved, const PartGradients& gradients);

void moe_training_forward(const TrainingPass& pass, const MoeWeights& weights, const float* x,
                          MoeActivations& saved, float* out);
void moe_training_backward(const TrainingPass& pass, const MoeWeights& weights,
                           MoeActivations& saved, const PartGradients& gradients);

void dense_training_forward(const TrainingPass& pass, const ops::SwigluWeights& weights,
                            const float* x, SwigluActivations& saved, float* out);
void dense_training_backward(const TrainingPass& pass, const ops::SwigluWeights& weights,
                             SwigluActivations& saved, const PartGradients& gradients);

}  // namespace qround
