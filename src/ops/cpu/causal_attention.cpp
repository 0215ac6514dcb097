// Attention over blocks of keys with a running maximum (the way of arXiv 2205.14135).
//
// The rows of a block are the query heads that share a key/value head, of a few neighbouring
// tokens: keys and values are read once for all of them, which is what counts in decoding, and the
// causal edge cuts little, which is what counts in prefill.
//
// Every row goes through ranges of kRangeKeys keys, each with a softmax of its own, and the ranges
// are merged in their order. When there are few rows and many keys the ranges are tasks of their
// own. Whether they are changes no bit, and neither does what else is in the batch: a token that is
// decoded alone, verified beside drafts or taken in with a prompt gets the same values.
#include "ops/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cpu/dense_rows.h"
#include "ops/cpu/matrix_product.h"
#include "ops/cpu/running_softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/causal_attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// out = factor * x.
HWY_ATTR void scale_values(const float* x, float factor, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, out + i);
  });
}

// out += factor * x.
HWY_ATTR void add_scaled_values(const float* x, float factor, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, factor), hn::LoadU(d, out + i)), d,
               out + i);
  });
}

HWY_ATTR float take_block(float* scores, int64_t visible, int64_t count, RunningSoftmax& running) {
  F32Vector largest = hn::Set(F32(), -std::numeric_limits<float>::infinity());
  float maximum = running.maximum;
  int64_t i = 0;
  for (; i + kLanes <= visible; i += kLanes)
    largest = hn::Max(largest, hn::LoadU(F32(), scores + i));
  maximum = std::max(maximum, hn::GetLane(hn::MaxOfLanes(F32(), largest)));
  for (; i < visible; ++i) maximum = std::max(maximum, scores[i]);
  std::fill(scores + visible, scores + count, 0.0f);
  if (visible <= 0) return 1.0f;
  const float sum = sum_of_vectors(visible, [&](auto d, int64_t s) HWY_ATTR {
    const auto p = exponential(d, hn::Sub(hn::LoadU(d, scores + s), hn::Set(d, maximum)));
    hn::StoreU(p, d, scores + s);
    return p;
  });
  const float rescale = std::exp(running.maximum - maximum);
  running = {.maximum = maximum, .sum = running.sum * rescale + sum};
  return rescale;
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(scale_values);
HWY_EXPORT(add_scaled_values);
HWY_EXPORT(take_block);

constexpr int64_t kBlockRows = 64;
constexpr int64_t kBlockKeys = kKvPageTokens;
constexpr int64_t kRangeKeys = 8 * kBlockKeys;
constexpr int64_t kEnoughTasks = 16;

// How the work is cut; depends on shapes alone.
struct Cut {
  int64_t group = 0;       // query heads that share a key/value head
  int64_t rows = 0;        // T * group: rows of one key/value head
  int64_t row_blocks = 0;  // of kBlockRows
  int64_t ranges = 0;      // of kRangeKeys keys
  bool split = false;      // ranges are tasks of their own

  explicit Cut(const CausalAttentionArgs& args)
      : group(args.heads / args.kv_heads),
        rows(args.tokens * group),
        row_blocks((rows + kBlockRows - 1) / kBlockRows),
        ranges((args.context + kRangeKeys - 1) / kRangeKeys),
        split(ranges > 1 && args.kv_heads * row_blocks < kEnoughTasks) {}
};

// One thread's working memory.
struct Scratch {
  float* queries;           // [kBlockRows, D], scaled
  float* outputs;           // [kBlockRows, D], not yet divided by the sum
  float* scores;            // [kBlockRows, kBlockKeys]
  RunningSoftmax* running;  // [kBlockRows]
  // The ranges before, merged.
  float* total_outputs;           // [kBlockRows, D]
  RunningSoftmax* total_running;  // [kBlockRows]
};

// What the ranges of keys give for every row, when they are tasks of their own.
struct Partials {
  float* outputs = nullptr;           // [ranges, Hkv, rows, D]
  RunningSoftmax* running = nullptr;  // [ranges, Hkv, rows]
};

struct Task {
  int64_t kv_head = 0, row = 0, rows = 0;
};

// Offset of row `row` of a key/value head in q and out.
int64_t row_offset(const CausalAttentionArgs& args, const Cut& cut, int64_t kv_head, int64_t row) {
  const int64_t token = row / cut.group, head = kv_head * cut.group + row % cut.group;
  return (token * args.heads + head) * args.head_dim;
}

void scale_into(const float* x, float factor, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(scale_values)(x, factor, count, out);
}

// Adds keys [begin, begin + count) to the running softmax of the task's rows.
void add_keys(const CausalAttentionArgs& args, const Cut& cut, const Task& task, int64_t begin,
              int64_t count, const Scratch& scratch) {
  const int64_t dim = args.head_dim, kv_stride = args.kv_heads * dim;
  const int64_t kv_offset = task.kv_head * dim;
  multiply_dense_rows({.dtype = DType::f32,
                       .w = keys_at(args, begin) + kv_offset,
                       .x = scratch.queries,
                       .y = scratch.scores,
                       .rows = task.rows,
                       .outputs = count,
                       .depth = dim,
                       .w_stride = kv_stride,
                       .x_stride = dim,
                       .y_stride = kBlockKeys});
  for (int64_t r = 0; r < task.rows; ++r) {
    const int64_t token = (task.row + r) / cut.group;
    const int64_t seen = args.context - args.tokens + token + 1 - begin;
    const float rescale = HWY_DYNAMIC_DISPATCH(take_block)(scratch.scores + r * kBlockKeys,
                                                           std::clamp<int64_t>(seen, 0, count),
                                                           count, scratch.running[r]);
    float* outputs = scratch.outputs + r * dim;
    if (rescale != 1.0f) scale_into(outputs, rescale, dim, outputs);
  }
  multiply({.x = scratch.scores,
            .b = values_at(args, begin) + kv_offset,
            .y = scratch.outputs,
            .rows = task.rows,
            .depth = count,
            .width = dim,
            .x_stride = kBlockKeys,
            .b_stride = kv_stride,
            .y_stride = dim,
            .accumulate = true});
}

// Scratch.outputs and .running: the task's rows over the keys of one range.
void run_range(const CausalAttentionArgs& args, const Cut& cut, const Task& task, int64_t range,
               const Scratch& scratch) {
  const int64_t dim = args.head_dim;
  std::fill_n(scratch.running, task.rows, RunningSoftmax());
  std::fill_n(scratch.outputs, task.rows * dim, 0.0f);
  const int64_t last_token = (task.row + task.rows - 1) / cut.group;
  const int64_t end =
      std::min((range + 1) * kRangeKeys, args.context - args.tokens + last_token + 1);
  for (int64_t key = range * kRangeKeys; key < end; key += kBlockKeys)
    add_keys(args, cut, task, key, std::min(kBlockKeys, end - key), scratch);
}

void scale_queries(const CausalAttentionArgs& args, const Cut& cut, const Task& task,
                   const Scratch& scratch) {
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* q = args.q + row_offset(args, cut, task.kv_head, task.row + r);
    scale_into(q, args.scale, args.head_dim, scratch.queries + r * args.head_dim);
  }
}

// Adds a range to the merged ones before it, for one row. A range the row does not see adds
// nothing.
void merge_range(const float* outputs, const RunningSoftmax& running, int64_t dim,
                 float* total_outputs, RunningSoftmax& total) {
  if (running.sum == 0) return;
  const float maximum = std::max(total.maximum, running.maximum);
  const float before = std::exp(total.maximum - maximum);
  const float added = std::exp(running.maximum - maximum);
  scale_into(total_outputs, before, dim, total_outputs);
  HWY_DYNAMIC_DISPATCH(add_scaled_values)(outputs, added, dim, total_outputs);
  total = {.maximum = maximum, .sum = total.sum * before + running.sum * added};
}

// All ranges of the task's rows, one after the other.
void run_all_ranges(const CausalAttentionArgs& args, const Cut& cut, const Task& task,
                    const Scratch& scratch) {
  const int64_t dim = args.head_dim;
  scale_queries(args, cut, task, scratch);
  std::fill_n(scratch.total_running, task.rows, RunningSoftmax());
  std::fill_n(scratch.total_outputs, task.rows * dim, 0.0f);
  for (int64_t range = 0; range < cut.ranges; ++range) {
    run_range(args, cut, task, range, scratch);
    for (int64_t r = 0; r < task.rows; ++r)
      merge_range(scratch.outputs + r * dim, scratch.running[r], dim,
                  scratch.total_outputs + r * dim, scratch.total_running[r]);
  }
  for (int64_t r = 0; r < task.rows; ++r)
    scale_into(scratch.total_outputs + r * dim, 1.0f / scratch.total_running[r].sum, dim,
               args.out + row_offset(args, cut, task.kv_head, task.row + r));
}

// One range of the task's rows, into the partial results.
void run_one_range(const CausalAttentionArgs& args, const Cut& cut, const Task& task, int64_t range,
                   const Scratch& scratch, const Partials& partials) {
  scale_queries(args, cut, task, scratch);
  run_range(args, cut, task, range, scratch);
  const int64_t place = (range * args.kv_heads + task.kv_head) * cut.rows + task.row;
  std::copy_n(scratch.outputs, task.rows * args.head_dim, partials.outputs + place * args.head_dim);
  std::copy_n(scratch.running, task.rows, partials.running + place);
}

// The result of one row from its ranges.
void merge_row(const CausalAttentionArgs& args, const Cut& cut, int64_t kv_head, int64_t row,
               const Partials& partials) {
  float* out = args.out + row_offset(args, cut, kv_head, row);
  std::fill_n(out, args.head_dim, 0.0f);
  RunningSoftmax total;
  for (int64_t range = 0; range < cut.ranges; ++range) {
    const int64_t place = (range * args.kv_heads + kv_head) * cut.rows + row;
    merge_range(partials.outputs + place * args.head_dim, partials.running[place], args.head_dim,
                out, total);
  }
  scale_into(out, 1.0f / total.sum, args.head_dim, out);
}

Scratch take_scratch(Workspace::Scope& scope, int64_t dim) {
  const auto outputs = static_cast<size_t>(kBlockRows * dim);
  const auto rows = static_cast<size_t>(kBlockRows);
  return {.queries = scope.take<float>(outputs).data(),
          .outputs = scope.take<float>(outputs).data(),
          .scores = scope.take<float>(static_cast<size_t>(kBlockRows * kBlockKeys)).data(),
          .running = scope.take<RunningSoftmax>(rows).data(),
          .total_outputs = scope.take<float>(outputs).data(),
          .total_running = scope.take<RunningSoftmax>(rows).data()};
}

}  // namespace

void causal_attention(const CausalAttentionArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  const Cut cut(args);
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<Scratch>(static_cast<size_t>(context.threads.count));
  for (Scratch& of_worker : scratch) of_worker = take_scratch(scope, args.head_dim);
  const int64_t n_row_tasks = args.kv_heads * cut.row_blocks;
  const auto task_at = [&](int64_t index) {
    Task task{.kv_head = index % args.kv_heads, .row = index / args.kv_heads * kBlockRows};
    task.rows = std::min(kBlockRows, cut.rows - task.row);
    return task;
  };
  const auto scratch_of = [&](int worker) { return scratch[static_cast<size_t>(worker)]; };
  if (!cut.split) {
    parallel_for(context.threads, static_cast<size_t>(n_row_tasks), [&](size_t index, int worker) {
      // Later rows see more keys: the longest tasks come first.
      const int64_t left = n_row_tasks - 1 - static_cast<int64_t>(index);
      run_all_ranges(args, cut, task_at(left), scratch_of(worker));
    });
    return;
  }
  const auto places = static_cast<size_t>(cut.ranges * args.kv_heads * cut.rows);
  const Partials partials{
      .outputs = scope.take<float>(places * static_cast<size_t>(args.head_dim)).data(),
      .running = scope.take<RunningSoftmax>(places).data()};
  parallel_for(context.threads, static_cast<size_t>(n_row_tasks * cut.ranges),
               [&](size_t index, int worker) {
                 const auto at = static_cast<int64_t>(index);
                 run_one_range(args, cut, task_at(at % n_row_tasks), at / n_row_tasks,
                               scratch_of(worker), partials);
               });
  parallel_for(context.threads, static_cast<size_t>(args.kv_heads * cut.rows),
               [&](size_t index, int) {
                 const auto place = static_cast<int64_t>(index);
                 merge_row(args, cut, place / cut.rows, place % cut.rows, partials);
               });
}

}  // namespace qround::ops::cpu
#endif
