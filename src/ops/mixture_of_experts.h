// Routing of tokens to experts and the weighted sum of the chosen experts' outputs.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops {

struct RouteArgs {
  const float* logits = nullptr;  // [T, E]
  int32_t* experts = nullptr;     // [T, A]: largest logit first; equal logits: lowest index first
  float* weights = nullptr;       // [T, A]: softmax over the chosen logits, which equals the
                                  // renormalized softmax over all
  int64_t tokens = 0, n_experts = 0, n_chosen = 0;
};

using RouteFunction = void(const RouteArgs& args, const OpContext& context);

struct ExpertsArgs {
  const float* x = nullptr;                       // [T, H]
  const int32_t* experts = nullptr;               // [T, A]
  const float* weights = nullptr;                 // [T, A]
  std::span<const SwigluWeights> expert_weights;  // [E]
  float* out = nullptr;                           // [T, H], overwritten
  int64_t tokens = 0, hidden = 0, n_chosen = 0;
};

// out[t] = sum over the A chosen experts, in the order of `experts`, of weight * expert(x[t]).
// Tokens are grouped by expert, so each touched expert's weights are read once.
using ExpertsFunction = void(const ExpertsArgs& args, const OpContext& context);

namespace ref {
RouteFunction route;
ExpertsFunction experts;
}  // namespace ref

namespace cpu {
RouteFunction route;
ExpertsFunction experts;
}  // namespace cpu

}  // namespace qround::ops
