#include "ops/mixture_of_experts.h"

#include <algorithm>
#include <cmath>

#include "ops/gating.h"
#include "ops/linear.h"

namespace qround::ops::ref {
namespace {

// The largest logit not among the first `taken` choices; of equal ones the lowest index.
int32_t next_best(const float* logits, int64_t n_experts, const int32_t* chosen, int64_t taken) {
  int32_t best = -1;
  for (int32_t expert = 0; expert < n_experts; ++expert) {
    if (std::find(chosen, chosen + taken, expert) != chosen + taken) continue;
    if (best < 0 || logits[expert] > logits[best]) best = expert;
  }
  return best;
}

}  // namespace

void route(const RouteArgs& args, const OpContext&) {
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* logits = args.logits + t * args.n_experts;
    int32_t* experts = args.experts + t * args.n_chosen;
    float* weights = args.weights + t * args.n_chosen;
    float total = 0;
    for (int64_t slot = 0; slot < args.n_chosen; ++slot) {
      experts[slot] = next_best(logits, args.n_experts, experts, slot);
      weights[slot] = std::exp(logits[experts[slot]] - logits[experts[0]]);
      total += weights[slot];
    }
    for (int64_t slot = 0; slot < args.n_chosen; ++slot) weights[slot] /= total;
  }
}

void group_by_expert(const GroupByExpertArgs& args, const OpContext& context) {
  const int64_t n_choices = args.tokens * args.n_chosen;
  int64_t* begin = args.groups.begin;
  std::fill(begin, begin + args.n_experts + 1, 0);
  for (int64_t choice = 0; choice < n_choices; ++choice) ++begin[args.experts[choice] + 1];
  for (int64_t expert = 0; expert < args.n_experts; ++expert) {
    if (args.totals != nullptr) args.totals[expert] += begin[expert + 1];
    begin[expert + 1] += begin[expert];
  }
  Workspace::Scope scope(context.workspace);
  const auto next = scope.take<int64_t>(static_cast<size_t>(args.n_experts));
  std::copy(begin, begin + args.n_experts, next.begin());
  for (int64_t choice = 0; choice < n_choices; ++choice)
    args.groups.choices[next[args.experts[choice]]++] = static_cast<int32_t>(choice);
}

void experts(const ExpertsArgs& args, const OpContext& context) {
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* x = args.x + t * args.hidden;
    float* out = args.out + t * args.hidden;
    std::fill(out, out + args.hidden, 0.0f);
    for (int64_t slot = 0; slot < args.n_chosen; ++slot) {
      const int64_t choice = t * args.n_chosen + slot;
      const SwigluWeights& expert = args.expert_weights[args.experts[choice]];
      const int64_t width = outputs(expert.gate);
      Workspace::Scope scope(context.workspace);
      const auto gate = scope.take<float>(static_cast<size_t>(width));
      const auto up = scope.take<float>(static_cast<size_t>(width));
      const auto down = scope.take<float>(static_cast<size_t>(args.hidden));
      linear(expert.gate, x, 1, gate.data(), context);
      linear(expert.up, x, 1, up.data(), context);
      swiglu(gate.data(), up.data(), width, gate.data(), context);
      linear(expert.down, gate.data(), 1, down.data(), context);
      for (int64_t i = 0; i < args.hidden; ++i) out[i] += args.weights[choice] * down[i];
    }
  }
}

}  // namespace qround::ops::ref
