// Attention over blocks of keys with a running maximum (the way of arXiv 2205.14135).
//
// The rows of a block are the query heads that share a key/value head, of a few neighbouring
// tokens: keys and values are read once for all of them, which is what counts in decoding, and the
// causal edge cuts little, which is what counts in prefill. When there are few rows and many keys,
// ranges of keys become tasks of their own and their results are merged.
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
constexpr int64_t kBlockKeys = 128;
constexpr int64_t kMinSplitKeys = 1024;
constexpr int64_t kEnoughTasks = 32;

// How the work is cut; depends on shapes alone.
struct Cut {
  int64_t group = 0;       // query heads that share a key/value head
  int64_t rows = 0;        // T * group: rows of one key/value head
  int64_t row_blocks = 0;  // of kBlockRows
  int64_t splits = 0;      // ranges of keys
  int64_t split_keys = 0;  // keys of a range, a multiple of kBlockKeys

  explicit Cut(const CausalAttentionArgs& args)
      : group(args.heads / args.kv_heads), rows(args.tokens * group) {
    row_blocks = (rows + kBlockRows - 1) / kBlockRows;
    const int64_t wanted = kEnoughTasks / std::max<int64_t>(1, args.kv_heads * row_blocks);
    const int64_t possible = (args.context + kMinSplitKeys - 1) / kMinSplitKeys;
    splits = std::clamp<int64_t>(wanted, 1, possible);
    const int64_t blocks = (args.context + kBlockKeys - 1) / kBlockKeys;
    split_keys = (blocks + splits - 1) / splits * kBlockKeys;
  }
};

// One thread's working memory.
struct Scratch {
  float* queries;           // [kBlockRows, D], scaled
  float* outputs;           // [kBlockRows, D], not yet divided by the sum
  float* scores;            // [kBlockRows, kBlockKeys]
  RunningSoftmax* running;  // [kBlockRows]
};

// What a range of keys gives for every row, when there are several ranges.
struct Partials {
  float* outputs = nullptr;           // [splits, Hkv, rows, D]
  RunningSoftmax* running = nullptr;  // [splits, Hkv, rows]
};

struct Task {
  int64_t kv_head = 0, row = 0, rows = 0, split = 0;
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
  const int64_t kv_offset = begin * kv_stride + task.kv_head * dim;
  multiply_dense_rows({.dtype = DType::f32,
                       .w = args.keys + kv_offset,
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
            .b = args.values + kv_offset,
            .y = scratch.outputs,
            .rows = task.rows,
            .depth = count,
            .width = dim,
            .x_stride = kBlockKeys,
            .b_stride = kv_stride,
            .y_stride = dim,
            .accumulate = true});
}

void run_task(const CausalAttentionArgs& args, const Cut& cut, const Task& task,
              const Scratch& scratch, const Partials& partials) {
  const int64_t dim = args.head_dim;
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* q = args.q + row_offset(args, cut, task.kv_head, task.row + r);
    scale_into(q, args.scale, dim, scratch.queries + r * dim);
    scratch.running[r] = {};
  }
  std::fill_n(scratch.outputs, task.rows * dim, 0.0f);

  const int64_t last_token = (task.row + task.rows - 1) / cut.group;
  const int64_t end =
      std::min((task.split + 1) * cut.split_keys, args.context - args.tokens + last_token + 1);
  for (int64_t key = task.split * cut.split_keys; key < end; key += kBlockKeys)
    add_keys(args, cut, task, key, std::min(kBlockKeys, end - key), scratch);

  for (int64_t r = 0; r < task.rows; ++r) {
    const float* outputs = scratch.outputs + r * dim;
    if (cut.splits == 1) {
      float* out = args.out + row_offset(args, cut, task.kv_head, task.row + r);
      scale_into(outputs, 1.0f / scratch.running[r].sum, dim, out);
      continue;
    }
    const int64_t place = (task.split * args.kv_heads + task.kv_head) * cut.rows + task.row + r;
    std::copy_n(outputs, dim, partials.outputs + place * dim);
    partials.running[place] = scratch.running[r];
  }
}

// Merges the ranges of keys of one row, in order.
void merge_row(const CausalAttentionArgs& args, const Cut& cut, int64_t kv_head, int64_t row,
               const Partials& partials) {
  const auto place_of = [&](int64_t split) {
    return (split * args.kv_heads + kv_head) * cut.rows + row;
  };
  RunningSoftmax total;
  for (int64_t split = 0; split < cut.splits; ++split)
    total.maximum = std::max(total.maximum, partials.running[place_of(split)].maximum);
  const auto weight_of = [&](int64_t split) {
    return std::exp(partials.running[place_of(split)].maximum - total.maximum);
  };
  for (int64_t split = 0; split < cut.splits; ++split)
    total.sum += weight_of(split) * partials.running[place_of(split)].sum;
  float* out = args.out + row_offset(args, cut, kv_head, row);
  std::fill_n(out, args.head_dim, 0.0f);
  const auto add_scaled = HWY_DYNAMIC_DISPATCH(add_scaled_values);
  for (int64_t split = 0; split < cut.splits; ++split)
    add_scaled(partials.outputs + place_of(split) * args.head_dim, weight_of(split) / total.sum,
               args.head_dim, out);
}

Scratch take_scratch(Workspace::Scope& scope, int64_t dim) {
  return {.queries = scope.take<float>(static_cast<size_t>(kBlockRows * dim)).data(),
          .outputs = scope.take<float>(static_cast<size_t>(kBlockRows * dim)).data(),
          .scores = scope.take<float>(static_cast<size_t>(kBlockRows * kBlockKeys)).data(),
          .running = scope.take<RunningSoftmax>(static_cast<size_t>(kBlockRows)).data()};
}

}  // namespace

void causal_attention(const CausalAttentionArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  const Cut cut(args);
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<Scratch>(static_cast<size_t>(context.threads.count));
  for (Scratch& of_worker : scratch) of_worker = take_scratch(scope, args.head_dim);
  Partials partials;
  if (cut.splits > 1) {
    const auto places = static_cast<size_t>(cut.splits * args.kv_heads * cut.rows);
    partials = {.outputs = scope.take<float>(places * static_cast<size_t>(args.head_dim)).data(),
                .running = scope.take<RunningSoftmax>(places).data()};
  }
  const int64_t n_tasks = args.kv_heads * cut.row_blocks * cut.splits;
  parallel_for(context.threads, static_cast<size_t>(n_tasks), [&](size_t index, int worker) {
    // Later rows see more keys: the longest tasks come first.
    const int64_t left = n_tasks - 1 - static_cast<int64_t>(index);
    Task task{.kv_head = left % args.kv_heads,
              .row = left / args.kv_heads % cut.row_blocks * kBlockRows,
              .split = left / args.kv_heads / cut.row_blocks};
    task.rows = std::min(kBlockRows, cut.rows - task.row);
    run_task(args, cut, task, scratch[static_cast<size_t>(worker)], partials);
  });
  if (cut.splits == 1) return;
  parallel_for(context.threads, static_cast<size_t>(args.kv_heads * cut.rows),
               [&](size_t index, int) {
                 const auto place = static_cast<int64_t>(index);
                 merge_row(args, cut, place / cut.rows, place % cut.rows, partials);
               });
}

}  // namespace qround::ops::cpu
#endif
