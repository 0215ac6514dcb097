// Attention in blocks of 64 queries and 64 keys with a running maximum: q kᵀ and p v on tensor
// cores in bf16, softmax and sums in f32.
//
// The query heads that share a key/value head are rows of one block: keys are read once for all of
// them, in decode as in training. Rows are packed as token * group + head.
//
// Keys are taken in spans of 1024 from the first on. A span gives maximum, sum and weighted values
// of its own, and spans come together in order by one rule (`merge`). In decode a block has one
// span and a second kernel merges them, so that a long context is read by many blocks; with many
// queries a block goes through all spans and merges as it goes. Both make the same bits, and masked
// keys add exact zeros, so a query's bits depend on the keys it sees alone.
//
// Registers as nvcc 13.0 compiles it for sm_80: 168, 219 and 255 for heads of 64, 128 and 256, of
// which the last spills 112 bytes. Not yet run on a GPU.
//
// Tested by tests/ops/causal_attention_test.cpp.
#include "base/error.h"
#include "ops/causal_attention.h"
#include "ops/cuda/attention_tile.h"
#include "ops/cuda/causal_attention_forward.h"
#include "ops/cuda/launch.h"
#include "ops/sequences.h"

namespace qround::ops::cuda {
namespace {

constexpr int kQueries = 64, kThreads = 128;
constexpr int kSpan = 1024;
constexpr int kCombineThreads = 256;

// What a span says of a query: exp(score - maximum) and values summed.
struct Running {
  float maximum = -INFINITY, sum = 0;
};

// Factors of the values so far and of those of a span.
struct MergeFactors {
  float before, span;
};
__device__ MergeFactors merge(Running& running, const Running& span) {
  const float maximum = fmaxf(running.maximum, span.maximum);
  const MergeFactors factors{expf(running.maximum - maximum), expf(span.maximum - maximum)};
  running.sum = __fmaf_rn(span.sum, factors.span, __fmul_rn(running.sum, factors.before));
  running.maximum = maximum;
  return factors;
}
__device__ float merge_value(float before, float span, const MergeFactors& factors) {
  return __fmaf_rn(span, factors.span, __fmul_rn(before, factors.before));
}

// Spans' results where blocks have one span each: [spans, queries (, D)], null where a block goes
// through all spans.
struct SpanResults {
  float* values = nullptr;
  Running* running = nullptr;
  int64_t queries = 0;
};

struct ForwardArgs {
  CausalAttentionArgs attention;
  SpanResults spans;
  float* log_sums = nullptr;  // [T * Hq] log of the softmax's denominator, or null
};

struct Place {
  int group, kv_head;
  int64_t rows;  // T * group

  __device__ explicit Place(const CausalAttentionArgs& args)
      : group(static_cast<int>(args.heads / args.kv_heads)),
        kv_head(static_cast<int>(blockIdx.y)),
        rows(args.tokens * group) {}

  __device__ int64_t token(int64_t row) const { return row / group; }
  // Of [T, Hq].
  __device__ int64_t query(int64_t row, const CausalAttentionArgs& args) const {
    return token(row) * args.heads + kv_head * group + row % group;
  }
};

__device__ const float* kv_row(const CausalAttentionArgs& args, int64_t token, const float* whole,
                               int64_t offset) {
  const int64_t row = args.kv_heads * args.head_dim;
  if (args.pages == nullptr) return whole + token * row;
  return args.pages[token / kKvPageTokens] + offset + token % kKvPageTokens * row;
}

// One block's work: a tile of queries.
template <int kD>
class Forward {
 public:
  static constexpr int kKeys = kD > 128 ? 32 : 64;  // at a time; what registers hold
  static_assert(kSpan % kKeys == 0);
  using QueryTile = Bf16Tile<kQueries, kD>;
  using KeyTile = Bf16Tile<kKeys, kD>;
  static constexpr int kSharedBytes = (QueryTile::kValues + 2 * KeyTile::kValues) * 2;

  __device__ explicit Forward(const ForwardArgs& args)
      : args_(args.attention),
        forward_(args),
        place_(args_),
        first_(int64_t{blockIdx.x} * kQueries),
        queries_(dynamic_shared<uint16_t>()),
        keys_(queries_ + QueryTile::kValues),
        values_(keys_ + KeyTile::kValues) {
    for (int half = 0; half < 2; ++half) {
      rows_[half] = first_ + warp_idx() * 16 + lane_idx() / 4 + 8 * half;
      last_key_[half] = rows_[half] < place_.rows ? last_key(rows_[half]) : -1;
    }
  }

  // `span` is the one that this block takes, where blocks take one each.
  __device__ void run(int64_t span) {
    load_f32_tile<QueryTile, kThreads>(queries_, args_.head_dim, [&](int row) -> const float* {
      return first_ + row < place_.rows
                 ? args_.q + place_.query(first_ + row, args_) * args_.head_dim
                 : nullptr;
    });
    if (forward_.spans.values != nullptr) {
      if (span * kSpan > block_last_key()) return;
      add_span(span);
      store_span(span);
      return;
    }
    for (int64_t each = 0; each * kSpan <= block_last_key(); ++each) {
      add_span(each);
      merge_span(each);
    }
  }

 private:
  __device__ int64_t last_key(int64_t row) const {
    return args_.context - args_.tokens + place_.token(row);
  }
  __device__ int64_t block_last_key() const {
    return last_key(min(first_ + kQueries, place_.rows) - 1);
  }

  // running_ and sums_ become those of the span.
  __device__ void add_span(int64_t span) {
    running_[0] = running_[1] = {};
#pragma unroll
    for (int j = 0; j < kD / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums_[j][e] = 0;
    const int64_t end = min((span + 1) * kSpan, block_last_key() + 1);
    for (int64_t key = span * kSpan; key < end; key += kKeys) {
      __syncthreads();
      load_keys(key);
      __syncthreads();
      add_keys(key);
    }
    for (Running& running : running_) running.sum = quad_sum(running.sum);
  }

  __device__ void load_keys(int64_t first_key) {
    const auto load = [&](uint16_t* tile, const float* whole, int64_t offset) {
      load_f32_tile<KeyTile, kThreads>(tile, args_.head_dim, [&](int row) -> const float* {
        if (first_key + row >= args_.context) return nullptr;
        return kv_row(args_, first_key + row, whole, offset) + place_.kv_head * args_.head_dim;
      });
    };
    load(keys_, args_.keys, args_.key_offset);
    load(values_, args_.values, args_.value_offset);
  }

  __device__ void add_keys(int64_t first_key) {
    float scores[kKeys / 8][4]{};
    multiply_rows<kD, kKeys, QueryTile, KeyTile>(scores, queries_, warp_idx() * 16, keys_);
    float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t key = first_key + 8 * j + lane_idx() % 4 * 2 + e % 2;
        scores[j][e] = key <= last_key_[e / 2] ? scores[j][e] * args_.scale : -INFINITY;
        largest[e / 2] = fmaxf(largest[e / 2], scores[j][e]);
      }
    float correction[2];
    for (int half = 0; half < 2; ++half) {
      Running& running = running_[half];
      const float maximum = fmaxf(running.maximum, quad_max(largest[half]));
      // Nothing seen yet: zeros stay zeros.
      correction[half] = maximum == -INFINITY ? 1.0f : expf(running.maximum - maximum);
      running.maximum = maximum;
      running.sum *= correction[half];
    }
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        Running& running = running_[e / 2];
        scores[j][e] = scores[j][e] == -INFINITY ? 0.0f : expf(scores[j][e] - running.maximum);
        running.sum += scores[j][e];
      }
#pragma unroll
    for (int j = 0; j < kD / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums_[j][e] *= correction[e / 2];
    multiply_fragments<kKeys, kD, KeyTile>(sums_, scores, values_, 0);
  }

  // use(half, D column, value): the lane's sums.
  template <class Use>
  __device__ void for_each_value(const Use& use) {
#pragma unroll
    for (int j = 0; j < kD / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t column = 8 * j + lane_idx() % 4 * 2 + e % 2;
        if (column < args_.head_dim) use(e / 2, column, sums_[j][e]);
      }
  }

  __device__ void store_span(int64_t span) {
    int64_t places[2];
    bool sees[2];
    for (int half = 0; half < 2; ++half) {
      sees[half] = span * kSpan <= last_key_[half];
      if (!sees[half]) continue;
      places[half] = span * forward_.spans.queries + place_.query(rows_[half], args_);
      if (lane_idx() % 4 == 0) forward_.spans.running[places[half]] = running_[half];
    }
    for_each_value([&](int half, int64_t column, float value) {
      if (sees[half]) forward_.spans.values[places[half] * args_.head_dim + column] = value;
    });
  }

  // out holds the values of the spans before, until a query's last span divides them.
  __device__ void merge_span(int64_t span) {
    MergeFactors factors[2];
    float* out[2];
    bool sees[2], ends[2];
    for (int half = 0; half < 2; ++half) {
      sees[half] = span * kSpan <= last_key_[half];
      ends[half] = sees[half] && last_key_[half] < (span + 1) * kSpan;
      if (!sees[half]) continue;
      factors[half] = merge(total_[half], running_[half]);
      const int64_t query = place_.query(rows_[half], args_);
      out[half] = args_.out + query * args_.head_dim;
      if (ends[half] && forward_.log_sums != nullptr && lane_idx() % 4 == 0)
        forward_.log_sums[query] = total_[half].maximum + logf(total_[half].sum);
    }
    for_each_value([&](int half, int64_t column, float value) {
      if (!sees[half]) return;
      float* to = out[half] + column;
      const float merged = merge_value(span == 0 ? 0.0f : *to, value, factors[half]);
      *to = ends[half] ? __fdiv_rn(merged, total_[half].sum) : merged;
    });
  }

  const CausalAttentionArgs& args_;
  const ForwardArgs& forward_;
  Place place_;
  int64_t first_;
  uint16_t *queries_, *keys_, *values_;
  int64_t rows_[2], last_key_[2];
  Running running_[2], total_[2];
  float sums_[kD / 8][4];
};

template <int kD>
__global__ void __launch_bounds__(kThreads) attend(ForwardArgs args) {
  Forward<kD>(args).run(blockIdx.z);
}

// A thread takes one value of one query, `index` of [T, Hq, D].
__device__ void combine_spans(const ForwardArgs& args, int64_t index) {
  const CausalAttentionArgs& attention = args.attention;
  const int64_t dim = attention.head_dim, query = index / dim, column = index % dim;
  const int64_t last_key = attention.context - attention.tokens + query / attention.heads;
  Running total;
  float value = 0;
  for (int64_t span = 0; span * kSpan <= last_key; ++span) {
    const int64_t place = span * args.spans.queries + query;
    const MergeFactors factors = merge(total, args.spans.running[place]);
    value = merge_value(value, args.spans.values[place * dim + column], factors);
  }
  attention.out[index] = __fdiv_rn(value, total.sum);
}

__global__ void combine(ForwardArgs args) {
  const int64_t index = int64_t{blockIdx.x} * kCombineThreads + threadIdx.x;
  if (index < args.attention.tokens * args.attention.heads * args.attention.head_dim)
    combine_spans(args, index);
}

// Sequences [first, ...) of a batch, each block's by its place in the grid.
struct SequencesForward {
  SequenceAttentionArgs attention;
  SpanResults spans;  // of all rows
  int64_t first = 0;

  __device__ ForwardArgs of(int64_t sequence) const {
    const SequencePlace& place = attention.batch.places[first + sequence];
    ForwardArgs args{attention_of(attention, place), spans, nullptr};
    if (spans.values != nullptr) {
      const int64_t query = place.first_row * attention.heads;
      args.spans.values += query * attention.head_dim;
      args.spans.running += query;
    }
    return args;
  }
};

template <int kD>
__global__ void __launch_bounds__(kThreads) attend_sequences(SequencesForward args, int spans) {
  const ForwardArgs forward = args.of(blockIdx.z / spans);
  const CausalAttentionArgs& attention = forward.attention;
  if (int64_t{blockIdx.x} * kQueries >= Place(attention).rows) return;
  Forward<kD>(forward).run(blockIdx.z % spans);
}

__global__ void combine_sequences(SequencesForward args) {
  const ForwardArgs forward = args.of(blockIdx.y);
  const CausalAttentionArgs& attention = forward.attention;
  const int64_t index = int64_t{blockIdx.x} * kCombineThreads + threadIdx.x;
  if (index < attention.tokens * attention.heads * attention.head_dim)
    combine_spans(forward, index);
}

unsigned blocks_of(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

// Blocks for `tokens` tokens of a sequence; their third extent is the caller's.
dim3 grid_of(int64_t tokens, int64_t heads, int64_t kv_heads, int64_t depth) {
  return dim3(blocks_of(tokens * (heads / kv_heads), kQueries), static_cast<unsigned>(kv_heads),
              static_cast<unsigned>(depth));
}

void launch_for_head(const ForwardArgs& args, int64_t spans, Stream* stream) {
  const CausalAttentionArgs& attention = args.attention;
  const dim3 grid = grid_of(attention.tokens, attention.heads, attention.kv_heads, spans);
  with_head_dim(attention.head_dim, [&]<int kD>() {
    launch(attend<kD>, grid, kThreads, Forward<kD>::kSharedBytes, stream, args);
  });
}

SpanResults take_results(int64_t spans, int64_t queries, int64_t head_dim,
                         Workspace::Scope& scope) {
  const auto count = static_cast<size_t>(spans * queries);
  return {scope.take<float>(count * static_cast<size_t>(head_dim)).data(),
          scope.take<Running>(count).data(), queries};
}

// `count` sequences of at most `tokens` rows each.
void launch_sequences(const SequencesForward& args, int64_t count, int64_t tokens, int64_t spans,
                      Stream* stream) {
  const SequenceAttentionArgs& attention = args.attention;
  const dim3 grid = grid_of(tokens, attention.heads, attention.kv_heads, count * spans);
  with_head_dim(attention.head_dim, [&]<int kD>() {
    launch(attend_sequences<kD>, grid, kThreads, Forward<kD>::kSharedBytes, stream, args,
           static_cast<int>(spans));
  });
}

// Sequences with few rows, their spans side by side.
void attend_short(const SequenceAttentionArgs& args, const OpContext& context) {
  const SequenceBatch& batch = args.batch;
  const int64_t spans = (batch.most_context + kSpan - 1) / kSpan;
  if (spans <= 1)
    return launch_sequences({args, {}, 0}, batch.short_sequences, kShortTokens, 1, context.stream);
  Workspace::Scope scope(context.workspace);
  const SequencesForward forward{
      args, take_results(spans, batch.short_rows * args.heads, args.head_dim, scope), 0};
  launch_sequences(forward, batch.short_sequences, kShortTokens, spans, context.stream);
  launch(combine_sequences,
         dim3(blocks_of(kShortTokens * args.heads * args.head_dim, kCombineThreads),
              static_cast<unsigned>(batch.short_sequences)),
         kCombineThreads, 0, context.stream, forward);
}

}  // namespace

void causal_attention(const CausalAttentionArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  const int64_t spans = (args.context + kSpan - 1) / kSpan;
  const int64_t rows = args.tokens * (args.heads / args.kv_heads);
  if (spans == 1 || rows > kQueries) return launch_for_head({args, {}, nullptr}, 1, context.stream);
  const int64_t queries = args.tokens * args.heads;
  Workspace::Scope scope(context.workspace);
  const ForwardArgs forward{args, take_results(spans, queries, args.head_dim, scope), nullptr};
  launch_for_head(forward, spans, context.stream);
  launch(combine, blocks_of(queries * args.head_dim, kCombineThreads), kCombineThreads, 0,
         context.stream, forward);
}

void causal_attention_with_log_sums(const CausalAttentionArgs& args, float* log_sums,
                                    const OpContext& context) {
  launch_for_head({args, {}, log_sums}, 1, context.stream);
}

void sequence_attention(const SequenceAttentionArgs& args, const OpContext& context) {
  const SequenceBatch& batch = args.batch;
  if (batch.short_sequences > 0) attend_short(args, context);
  const int64_t others = batch.sequences - batch.short_sequences;
  if (others > 0)
    launch_sequences({args, {}, batch.short_sequences}, others, batch.most_tokens, 1,
                     context.stream);
}

}  // namespace qround::ops::cuda
