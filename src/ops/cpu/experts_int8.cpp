#include "ops/cpu/experts_int8.h"

#include <algorithm>

#include "ops/cpu/int4_groups.h"
#include "ops/cpu/int4_int8.h"
#include "ops/cpu/int8_inputs.h"
#include "ops/cpu/row_blocks.h"
#include "ops/cpu/swiglu_values.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/experts_int8.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

namespace qround::ops::cpu {
#ifndef QROUND_OPS_CPU_EXPERTS_INT8_ONCE
#define QROUND_OPS_CPU_EXPERTS_INT8_ONCE

// A result in up to `parts` parts (segments of the weights' inputs), `stride` floats apart.
struct Parts {
  float* data = nullptr;
  int64_t count = 1, stride = 0;
};

#endif
}  // namespace qround::ops::cpu

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Tag>
HWY_INLINE hn::Vec<Tag> sum_of_parts(Tag d, const Parts& parts, int64_t at) {
  auto sum = hn::LoadU(d, parts.data + at);
  for (int64_t part = 1; part < parts.count; ++part)
    sum = hn::Add(sum, hn::LoadU(d, parts.data + part * parts.stride + at));
  return sum;
}

// out = the parts' sum of `count` values from `at` on.
HWY_ATTR void add_parts(const Parts& parts, int64_t at, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i)
                             HWY_ATTR { hn::StoreU(sum_of_parts(d, parts, at + i), d, out + i); });
}

// Columns [begin, end) of out = sum over slots of weights[slot] * rows[places[slot]], in the order
// of the slots.
HWY_ATTR void weighted_parts(const Parts& rows, int64_t width, const int32_t* places,
                             const float* weights, int64_t n_slots, int64_t begin, int64_t end,
                             float* out) {
  for_each_vector(end - begin, [&](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (int64_t slot = 0; slot < n_slots; ++slot)
      sum = hn::MulAdd(hn::Set(d, weights[slot]),
                       sum_of_parts(d, rows, places[slot] * width + begin + i), sum);
    hn::StoreU(sum, d, out + begin + i);
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(add_parts);
HWY_EXPORT(weighted_parts);

// Up to this many choices segments of weights become tasks of their own: then few experts are
// touched, each by few tokens.
constexpr int64_t kSplitChoices = 256;
constexpr int64_t kTaskOutputs = 256;  // of the tasks of more choices

const Int4Weight* int4_of(const Weight& weight) { return std::get_if<Int4Weight>(&weight); }

Int4Weight plain(const Weight& weight) {
  return std::get<Int4Weight>(without_trivial_g_idx(weight));
}

// How the maps of the experts are computed.
struct Plan {
  int64_t width = 0;          // I
  Int4Segments into, out_of;  // of gate and up; of down
  bool split = false;         // segments are tasks
  int64_t into_parts = 1, out_parts = 1;

  Plan(const ExpertsArgs& args, const ExpertGrouping& grouping) {
    const SwigluWeights& first = args.expert_weights[grouping.groups[0].expert];
    width = outputs(first.gate);
    into = int4_segments(plain(first.gate));
    out_of = int4_segments(plain(first.down));
    split = args.tokens * args.n_chosen <= kSplitChoices;
    into_parts = split ? into.count : 1;
    out_parts = split ? out_of.count : 1;
  }
};

struct Buffers {
  Int8Inputs x, inner;
  Parts gate, up, y;        // rows by place
  std::span<float> values;  // [threads, 2, I]
  std::span<std::byte> scratch;

  std::byte* scratch_of(int worker) const {
    return scratch.data() + kInt4Int8ScratchBytes * static_cast<size_t>(worker);
  }
};

Parts take_parts(Workspace::Scope& scope, int64_t rows, int64_t width, int64_t count) {
  return {.data = scope.take<float>(static_cast<size_t>(rows * width * count)).data(),
          .count = count,
          .stride = rows * width};
}

// Runs body(group, task of n_tasks, worker) for every group.
template <class Body>
void for_each_group(Threads threads, const ExpertGrouping& grouping, int64_t n_tasks,
                    const Body& body) {
  parallel_for(threads, grouping.groups.size() * static_cast<size_t>(n_tasks),
               [&](size_t index, int worker) {
                 const auto& group = grouping.groups[index / static_cast<size_t>(n_tasks)];
                 body(group, static_cast<int64_t>(index) % n_tasks, worker);
               });
}

// The part of a map that is task `task` of a group: a segment, or a range of outputs.
Int4Int8Product part_of(const Int4Weight& weight, bool split, int64_t segments, int64_t task,
                        const Parts& y, int64_t first_row) {
  Int4Int8Product product{.weight = &weight, .y_stride = weight.n};
  float* rows = y.data + first_row * weight.n;
  if (split) {
    product.y = rows + task * y.stride;
    product.end = weight.n;
    product.segment_begin = task;
    product.segment_end = task + 1;
  } else {
    product.y = rows;
    product.begin = task * kTaskOutputs;
    product.end = std::min(weight.n, product.begin + kTaskOutputs);
    product.segment_end = segments;
  }
  return product;
}

int64_t tasks_of(bool split, int64_t segments, int64_t n_outputs) {
  return split ? segments : (n_outputs + kTaskOutputs - 1) / kTaskOutputs;
}

void round_inputs(const ExpertsArgs& args, const Buffers& buffers, Threads threads) {
  for_row_blocks(threads, args.tokens, args.hidden, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) round_to_int8(args.x + t * args.hidden, t, buffers.x);
  });
}

void multiply_into(const ExpertsArgs& args, const ExpertGrouping& grouping, const Plan& plan,
                   std::span<const int32_t> token_at, const Buffers& buffers, Threads threads) {
  const int64_t tasks = tasks_of(plan.split, plan.into.count, plan.width);
  for_each_group(threads, grouping, 2 * tasks, [&](const auto& group, int64_t task, int worker) {
    const SwigluWeights& expert = args.expert_weights[group.expert];
    const bool is_up = task >= tasks;
    const Int4Weight weight = plain(is_up ? expert.up : expert.gate);
    Int4Int8Product product = part_of(weight, plan.split, plan.into.count, task % tasks,
                                      is_up ? buffers.up : buffers.gate, group.begin);
    product.inputs = &buffers.x;
    product.places = token_at.data() + group.begin;
    product.rows = group.rows();
    multiply_int4_int8(product, buffers.scratch_of(worker));
  });
}

// silu(gate) * up, rounded.
void make_inner(int64_t n_choices, const Plan& plan, const Buffers& buffers, Threads threads) {
  const int64_t width = plan.width, block = std::max<int64_t>(1, kTaskElements / (4 * width));
  const auto add = HWY_DYNAMIC_DISPATCH(add_parts);
  parallel_for(threads, static_cast<size_t>((n_choices + block - 1) / block),
               [&](size_t index, int worker) {
                 float* gate = buffers.values.data() + 2 * width * worker;
                 float* up = gate + width;
                 const int64_t begin = static_cast<int64_t>(index) * block;
                 for (int64_t row = begin; row < std::min(n_choices, begin + block); ++row) {
                   add(buffers.gate, row * width, width, gate);
                   add(buffers.up, row * width, width, up);
                   swiglu_values(gate, up, width, gate);
                   round_to_int8(gate, row, buffers.inner);
                 }
               });
}

void multiply_out_of(const ExpertsArgs& args, const ExpertGrouping& grouping, const Plan& plan,
                     const Buffers& buffers, Threads threads) {
  const int64_t tasks = tasks_of(plan.split, plan.out_of.count, args.hidden);
  for_each_group(threads, grouping, tasks, [&](const auto& group, int64_t task, int worker) {
    const Int4Weight weight = plain(args.expert_weights[group.expert].down);
    Int4Int8Product product =
        part_of(weight, plan.split, plan.out_of.count, task, buffers.y, group.begin);
    product.inputs = &buffers.inner;
    product.first_place = group.begin;
    product.rows = group.rows();
    multiply_int4_int8(product, buffers.scratch_of(worker));
  });
}

void add_choices(const ExpertsArgs& args, const ExpertGrouping& grouping, const Buffers& buffers,
                 Threads threads) {
  const auto add = HWY_DYNAMIC_DISPATCH(weighted_parts);
  for_row_blocks(threads, args.tokens, args.hidden * args.n_chosen,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t t = begin; t < end; ++t)
                     add(buffers.y, args.hidden, grouping.place_of.data() + t * args.n_chosen,
                         args.weights + t * args.n_chosen, args.n_chosen, 0, args.hidden,
                         args.out + t * args.hidden);
                 });
}

}  // namespace

bool experts_take_int8_inputs(const ExpertsArgs& args, const ExpertGrouping& grouping) {
  const SwigluWeights& first = args.expert_weights[grouping.groups[0].expert];
  const auto fits = [](const Weight& weight, const Weight& like) {
    const Weight without = without_trivial_g_idx(weight);
    const Int4Weight *int4 = int4_of(without), *model = int4_of(like);
    return int4 != nullptr && model != nullptr && takes_int8_inputs(*int4) && int4->n == model->n &&
           int4->k == model->k && int4->group_size == model->group_size;
  };
  return std::all_of(grouping.groups.begin(), grouping.groups.end(), [&](const auto& group) {
    const SwigluWeights& expert = args.expert_weights[group.expert];
    return fits(expert.gate, first.gate) && fits(expert.up, first.gate) &&
           fits(expert.down, first.down);
  });
}

void experts_int8(const ExpertsArgs& args, const ExpertGrouping& grouping,
                  const OpContext& context) {
  const Plan plan(args, grouping);
  const int64_t n_choices = args.tokens * args.n_chosen;
  const auto threads = static_cast<size_t>(context.threads.count);
  const SwigluWeights& first = args.expert_weights[grouping.groups[0].expert];
  Workspace::Scope scope(context.workspace);
  const auto token_at = scope.take<int32_t>(static_cast<size_t>(n_choices));
  for (size_t place = 0; place < token_at.size(); ++place)
    token_at[place] = grouping.choice_at[place] / static_cast<int32_t>(args.n_chosen);
  const Buffers buffers{
      .x = take_int8_inputs(scope, args.tokens, args.hidden, int4_of(first.gate)->group_size),
      .inner = take_int8_inputs(scope, n_choices, plan.width, int4_of(first.down)->group_size),
      .gate = take_parts(scope, n_choices, plan.width, plan.into_parts),
      .up = take_parts(scope, n_choices, plan.width, plan.into_parts),
      .y = take_parts(scope, n_choices, args.hidden, plan.out_parts),
      .values = scope.take<float>(threads * 2 * static_cast<size_t>(plan.width)),
      .scratch = scope.take<std::byte>(threads * kInt4Int8ScratchBytes)};
  round_inputs(args, buffers, context.threads);
  multiply_into(args, grouping, plan, token_at, buffers, context.threads);
  make_inner(n_choices, plan, buffers, context.threads);
  multiply_out_of(args, grouping, plan, buffers, context.threads);
  add_choices(args, grouping, buffers, context.threads);
}

}  // namespace qround::ops::cpu
#endif
