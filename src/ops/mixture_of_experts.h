// Routing of tokens to experts and the weighted sum of the chosen experts' outputs.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "ops/weight_gradient.h"
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

// No gradient flows through the choice itself: logits of experts that were not chosen get zero.
struct RouteBackwardArgs {
  const int32_t* experts = nullptr;  // [T, A]
  const float* weights = nullptr;    // [T, A]
  const float* d_weights = nullptr;  // [T, A]
  float* d_logits = nullptr;         // [T, E], overwritten
  int64_t tokens = 0, n_experts = 0, n_chosen = 0;
};
using RouteBackwardFunction = void(const RouteBackwardArgs& args, const OpContext& context);

// The (token, slot) pairs of a batch in order of expert, then token: rows of what is called grouped
// below.
struct ExpertGroups {
  int64_t* begin = nullptr;    // [E + 1]; the rows of expert e are begin[e] .. begin[e + 1]
  int32_t* choices = nullptr;  // [T * A]; row -> token * A + slot
};

struct GroupByExpertArgs {
  const int32_t* experts = nullptr;  // [T, A]
  ExpertGroups groups;               // written
  int64_t* totals = nullptr;         // [E]: the rows of each expert are added; or null
  int64_t tokens = 0, n_experts = 0, n_chosen = 0;
};
using GroupByExpertFunction = void(const GroupByExpertArgs& args, const OpContext& context);

// `experts` for training: keeps what the gradients need, sums in order of experts. `gate` and `up`
// are the outputs of those two maps.
struct GroupedExpertsArgs {
  const float* x = nullptr;  // [T, H]
  const ExpertGroups* groups = nullptr;
  const float* weights = nullptr;                 // [T, A]
  std::span<const SwigluWeights> expert_weights;  // [E]
  float *gate = nullptr, *up = nullptr;           // [T * A, I] grouped, written
  float* out = nullptr;                           // [T, H], overwritten
  int64_t tokens = 0, hidden = 0, n_chosen = 0;
};
using GroupedExpertsFunction = void(const GroupedExpertsArgs& args, const OpContext& context);

// Matrices of the experts as weight gradients name them.
enum class ExpertMatrix : int64_t { gate = 0, up = 1, down = 2 };
constexpr int64_t expert_matrix(int64_t expert, ExpertMatrix which) {
  return 3 * expert + static_cast<int64_t>(which);
}

struct GroupedExpertsBackwardArgs {
  const float* x = nullptr;  // [T, H]
  const ExpertGroups* groups = nullptr;
  const float* weights = nullptr;                 // [T, A]
  std::span<const SwigluWeights> expert_weights;  // [E]
  float *gate = nullptr, *up = nullptr;           // [T * A, I] as saved; used up as scratch
  const float* d_out = nullptr;                   // [T, H]
  float* dx = nullptr;                            // [T, H], added to
  float* d_weights = nullptr;                     // [T, A], overwritten
  // Weight gradients: jobs named expert_matrix(expert, which). All tiles of an expert come after
  // its weights were read for the last time, so the sink may change them. Experts without
  // tokens get no call. Null: none.
  const WeightGradientSink* sink = nullptr;
  const uint8_t* wanted = nullptr;  // [3 E], by expert_matrix; null: all
  int64_t tokens = 0, hidden = 0, n_chosen = 0;
};
using GroupedExpertsBackwardFunction = void(const GroupedExpertsBackwardArgs& args,
                                            const OpContext& context);

namespace ref {
RouteFunction route;
GroupByExpertFunction group_by_expert;
ExpertsFunction experts;
RouteBackwardFunction route_backward;
GroupedExpertsFunction grouped_experts;
GroupedExpertsBackwardFunction grouped_experts_backward;
}  // namespace ref

namespace cpu {
RouteFunction route;
ExpertsFunction experts;
RouteBackwardFunction route_backward;
GroupedExpertsFunction grouped_experts;
GroupedExpertsBackwardFunction grouped_experts_backward;
}  // namespace cpu

namespace cuda {
RouteFunction route;
GroupByExpertFunction group_by_expert;
RouteBackwardFunction route_backward;
ExpertsFunction experts;
GroupedExpertsFunction grouped_experts;
GroupedExpertsBackwardFunction grouped_experts_backward;
}  // namespace cuda

}  // namespace qround::ops
