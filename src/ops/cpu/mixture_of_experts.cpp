#include "ops/mixture_of_experts.h"

#include <algorithm>
#include <cmath>

#include "ops/cpu/expert_grouping.h"
#include "ops/cpu/experts_int8.h"
#include "ops/cpu/int4_groups.h"
#include "ops/cpu/linear_share.h"
#include "ops/cpu/row_blocks.h"
#include "ops/cpu/row_inputs.h"
#include "ops/cpu/swiglu_values.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/mixture_of_experts.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// out = sum over slots of weights[slot] * rows[places[slot]], in the order of the slots.
HWY_ATTR void weighted_sum(const float* rows, const int32_t* places, const float* weights,
                           int64_t n_slots, int64_t width, float* out) {
  for_each_vector(width, [&](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (int64_t slot = 0; slot < n_slots; ++slot)
      sum =
          hn::MulAdd(hn::Set(d, weights[slot]), hn::LoadU(d, rows + places[slot] * width + i), sum);
    hn::StoreU(sum, d, out + i);
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(weighted_sum);

// Calls share(group, begin, end, worker) for ranges of outputs of every touched expert.
template <class Share>
void for_each_share(Threads threads, const ExpertGrouping& grouping, int64_t n_outputs,
                    const Share& share) {
  const int64_t width = share_width(n_outputs);
  const int64_t n_shares = (n_outputs + width - 1) / width;
  const size_t n_tasks = grouping.groups.size() * static_cast<size_t>(n_shares);
  parallel_for(threads, n_tasks, [&](size_t task, int worker) {
    const auto& group = grouping.groups[task / static_cast<size_t>(n_shares)];
    const int64_t begin = static_cast<int64_t>(task) % n_shares * width;
    share(group, begin, std::min(n_outputs, begin + width), worker);
  });
}

// The experts' inner values silu(gate) * up for all choices, and scratch for the shares.
struct Buffers {
  std::span<float> inner;  // [T * A, I]
  std::span<float> up;     // [T * A, I]
  std::span<float> y;      // [T * A, H]
  std::span<float> scratch;
  bool many_rows = false;

  float* scratch_of(int worker) const {
    return scratch.data() + kShareScratchFloats * static_cast<size_t>(worker);
  }
};

// x [T * A, H], sorted by expert.
void gather_inputs(const ExpertsArgs& args, const ExpertGrouping& grouping, float* x,
                   Threads threads) {
  const int64_t n_choices = args.tokens * args.n_chosen;
  for_row_blocks(threads, n_choices, args.hidden, [&](int64_t begin, int64_t end) {
    for (int64_t place = begin; place < end; ++place) {
      const int64_t token = grouping.choice_at[static_cast<size_t>(place)] / args.n_chosen;
      std::copy_n(args.x + token * args.hidden, args.hidden, x + place * args.hidden);
    }
  });
}

void inner_share(const ExpertsArgs& args, const ExpertGrouping::Group& group, int64_t width,
                 int64_t begin, int64_t end, const RowInputs& x, const Buffers& buffers,
                 int worker) {
  const SwigluWeights& expert = args.expert_weights[group.expert];
  const Weight gate_weight = without_trivial_g_idx(expert.gate);
  const Weight up_weight = without_trivial_g_idx(expert.up);
  LinearShare share{.weight = &gate_weight,
                    .x = x.row(group.begin),
                    .x_pairs = x.pairs_of_row(gate_weight, group.begin),
                    .y = buffers.inner.data() + group.begin * width,
                    .rows = group.end - group.begin,
                    .begin = begin,
                    .end = end,
                    .y_stride = width,
                    .many_rows = buffers.many_rows};
  linear_share(share, buffers.scratch_of(worker));
  share.weight = &up_weight;
  share.x_pairs = x.pairs_of_row(up_weight, group.begin);
  share.y = buffers.up.data() + group.begin * width;
  linear_share(share, buffers.scratch_of(worker));
  for (int64_t row = group.begin; row < group.end; ++row) {
    float* inner = buffers.inner.data() + row * width + begin;
    swiglu_values(inner, buffers.up.data() + row * width + begin, end - begin, inner);
  }
}

void down_share(const ExpertsArgs& args, const ExpertGrouping::Group& group, int64_t begin,
                int64_t end, const RowInputs& inner, const Buffers& buffers, int worker) {
  const Weight weight = without_trivial_g_idx(args.expert_weights[group.expert].down);
  linear_share({.weight = &weight,
                .x = inner.row(group.begin),
                .x_pairs = inner.pairs_of_row(weight, group.begin),
                .y = buffers.y.data() + group.begin * args.hidden,
                .rows = group.end - group.begin,
                .begin = begin,
                .end = end,
                .y_stride = args.hidden,
                .many_rows = buffers.many_rows},
               buffers.scratch_of(worker));
}

// chosen: indices of the largest logits, largest first; equal ones in the order of their index.
void choose_largest(const float* logits, int64_t n_experts, int64_t n_chosen, int32_t* chosen) {
  int64_t n_kept = 0;
  for (int32_t expert = 0; expert < n_experts; ++expert) {
    if (n_kept == n_chosen && !(logits[expert] > logits[chosen[n_kept - 1]])) continue;
    int64_t slot = n_kept < n_chosen ? n_kept++ : n_kept - 1;
    for (; slot > 0 && logits[expert] > logits[chosen[slot - 1]]; --slot)
      chosen[slot] = chosen[slot - 1];
    chosen[slot] = expert;
  }
}

void softmax_over_chosen(const float* logits, const int32_t* chosen, int64_t n_chosen,
                         float* weights) {
  float total = 0;
  for (int64_t slot = 0; slot < n_chosen; ++slot)
    total += weights[slot] = std::exp(logits[chosen[slot]] - logits[chosen[0]]);
  for (int64_t slot = 0; slot < n_chosen; ++slot) weights[slot] /= total;
}

}  // namespace

void route(const RouteArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.tokens, args.n_experts, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int32_t* experts = args.experts + t * args.n_chosen;
      choose_largest(args.logits + t * args.n_experts, args.n_experts, args.n_chosen, experts);
      softmax_over_chosen(args.logits + t * args.n_experts, experts, args.n_chosen,
                          args.weights + t * args.n_chosen);
    }
  });
}

void experts(const ExpertsArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  const auto n_choices = static_cast<size_t>(args.tokens * args.n_chosen);
  const auto hidden = static_cast<size_t>(args.hidden);
  Workspace::Scope scope(context.workspace);
  const ExpertGrouping grouping = sort_by_expert(args, scope);
  if (context.activations == Activations::int8 && experts_take_int8_inputs(args, grouping))
    return experts_int8(args, grouping, context);
  const int64_t width = outputs(args.expert_weights[grouping.groups[0].expert].gate);
  const auto gathered = scope.take<float>(n_choices * hidden);
  const Buffers buffers{.inner = scope.take<float>(n_choices * static_cast<size_t>(width)),
                        .up = scope.take<float>(n_choices * static_cast<size_t>(width)),
                        .y = scope.take<float>(n_choices * hidden),
                        .scratch = scope.take<float>(kShareScratchFloats *
                                                     static_cast<size_t>(context.threads.count)),
                        .many_rows = context.many_rows};
  gather_inputs(args, grouping, gathered.data(), context.threads);
  const auto rows = static_cast<int64_t>(n_choices);
  const RowInputs x(scope, gathered.data(), rows, args.hidden, context);
  for_each_share(context.threads, grouping, width,
                 [&](const ExpertGrouping::Group& group, int64_t begin, int64_t end, int worker) {
                   inner_share(args, group, width, begin, end, x, buffers, worker);
                 });
  const RowInputs inner(scope, buffers.inner.data(), rows, width, context);
  for_each_share(context.threads, grouping, args.hidden,
                 [&](const ExpertGrouping::Group& group, int64_t begin, int64_t end, int worker) {
                   down_share(args, group, begin, end, inner, buffers, worker);
                 });
  const auto add_up = HWY_DYNAMIC_DISPATCH(weighted_sum);
  for_row_blocks(
      context.threads, args.tokens, args.hidden * args.n_chosen, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t choice = t * args.n_chosen;
          add_up(buffers.y.data(), grouping.place_of.data() + choice, args.weights + choice,
                 args.n_chosen, args.hidden, args.out + t * args.hidden);
        }
      });
}

}  // namespace qround::ops::cpu
#endif
