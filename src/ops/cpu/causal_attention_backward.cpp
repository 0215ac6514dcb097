// A thread takes one key/value head of one sequence, and for each of its query heads blocks of 64
// queries: their scores against all visible keys, in tiles of 64 x 64, fit the second-level cache,
// so the softmax is the plain one and nothing of the forward pass is needed. Every product is the
// one of matrix_product.h: keys and values are transposed once per head, tiles where they are used.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/causal_attention.h"
#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/causal_attention_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kTile = 64;

// Calls body(offset, count) for the tiles' parts of one row that holds `visible` values.
template <class Body>
HWY_INLINE void for_each_part(int64_t row, int64_t visible, const Body& body) {
  for (int64_t first = 0; first < visible; first += kTile)
    body(first * kTile + row * kTile, std::min(kTile, visible - first));
}

// Row `row` of tiles [visible / 64][64][64]: scores become probabilities, gradients of
// probabilities become gradients of scores. Both are 0 for keys the query does not see, up to the
// tile's edge.
HWY_ATTR void softmax_gradient(int64_t row, int64_t visible, float scale, float* scores,
                               float* gradients) {
  float largest = -std::numeric_limits<float>::infinity();
  for_each_part(row, visible, [&](int64_t at, int64_t count) HWY_ATTR {
    F32Vector most = hn::Set(F32(), largest);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
      most = hn::Max(most, hn::LoadU(F32(), scores + at + i));
    largest = hn::GetLane(hn::MaxOfLanes(F32(), most));
    for (; i < count; ++i) largest = std::max(largest, scores[at + i]);
  });
  float total = 0, along = 0;  // along: sum of probability * its gradient, before the division
  for_each_part(row, visible, [&](int64_t at, int64_t count) HWY_ATTR {
    total += sum_of_vectors(count, [&](auto d, int64_t i) HWY_ATTR {
      const auto below = hn::Sub(hn::LoadU(d, scores + at + i), hn::Set(d, largest));
      const auto p = exponential(d, hn::Mul(below, hn::Set(d, scale)));
      hn::StoreU(p, d, scores + at + i);
      return p;
    });
    along += sum_of_vectors(count, [&](auto d, int64_t i) HWY_ATTR {
      return hn::Mul(hn::LoadU(d, scores + at + i), hn::LoadU(d, gradients + at + i));
    });
  });
  const float share = 1.0f / total, mean = along * share;
  for_each_part(row, visible, [&](int64_t at, int64_t count) HWY_ATTR {
    for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
      const auto p = hn::Mul(hn::LoadU(d, scores + at + i), hn::Set(d, share));
      const auto from_mean = hn::Sub(hn::LoadU(d, gradients + at + i), hn::Set(d, mean));
      hn::StoreU(p, d, scores + at + i);
      hn::StoreU(hn::Mul(hn::Mul(p, from_mean), hn::Set(d, scale)), d, gradients + at + i);
    });
    std::fill_n(scores + at + count, kTile - count, 0.0f);
    std::fill_n(gradients + at + count, kTile - count, 0.0f);
  });
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(softmax_gradient);

constexpr int64_t kTile = 64;

// One thread's working memory.
struct Scratch {
  float *keys, *values;             // [tiles, D, 64]: transposed tiles of 64 tokens
  float *probabilities, *d_scores;  // [tiles, 64, 64]
  float *q, *d_out;                 // [64, D]
  float* transposed;                // [64, 64]

  static int64_t floats(int64_t tokens, int64_t dim) {
    const int64_t tiles = (tokens + kTile - 1) / kTile;
    return 2 * tiles * (dim + kTile) * kTile + 2 * kTile * dim + kTile * kTile;
  }
  Scratch(float* memory, int64_t tokens, int64_t dim) {
    const int64_t tiles = (tokens + kTile - 1) / kTile;
    const auto next = [&memory](int64_t count) { return (memory += count) - count; };
    keys = next(tiles * dim * kTile);
    values = next(tiles * dim * kTile);
    probabilities = next(tiles * kTile * kTile);
    d_scores = next(tiles * kTile * kTile);
    q = next(kTile * dim);
    d_out = next(kTile * dim);
    transposed = next(kTile * kTile);
  }
};

class HeadBackward {
 public:
  HeadBackward(const CausalAttentionBackwardArgs& args, int64_t sequence, int64_t kv_head,
               const Scratch& scratch)
      : args_(args),
        s_(scratch),
        dim_(args.head_dim),
        q_stride_(args.heads * args.head_dim),
        kv_stride_(args.kv_heads * args.head_dim),
        kv_head_(kv_head),
        first_query_(sequence * args.tokens * q_stride_),
        first_key_(sequence * args.tokens * kv_stride_ + kv_head * args.head_dim) {}

  void run() {
    for (int64_t tile = 0; tile * kTile < args_.tokens; ++tile) {
      transpose_tile(args_.keys, tile, s_.keys);
      transpose_tile(args_.values, tile, s_.values);
    }
    const int64_t group = args_.heads / args_.kv_heads;
    for (int64_t head = 0; head < group; ++head)
      for (int64_t tile = 0; tile * kTile < args_.tokens; ++tile)
        query_tile(kv_head_ * group + head, tile, head == 0);
  }

 private:
  int64_t rows_of(int64_t tile) const { return std::min(kTile, args_.tokens - tile * kTile); }

  void transpose_tile(const float* from, int64_t tile, float* to) const {
    transpose({.from = from + first_key_ + tile * kTile * kv_stride_,
               .to = to + tile * dim_ * kTile,
               .rows = rows_of(tile),
               .columns = dim_,
               .from_stride = kv_stride_,
               .to_stride = kTile});
  }

  // Tile of x [rows, D] times the transposed keys or values.
  void against(const float* x, const float* transposed, int64_t rows, int64_t key_tile,
               float* tiles) const {
    multiply({.x = x,
              .b = transposed + key_tile * dim_ * kTile,
              .y = tiles + key_tile * kTile * kTile,
              .rows = rows,
              .depth = dim_,
              .width = rows_of(key_tile),
              .x_stride = dim_,
              .b_stride = kTile,
              .y_stride = kTile});
  }

  // d [keys of the tile, D] (+)= tileᵀ x.
  void gather_by_key(const float* tiles, const float* x, int64_t rows, int64_t key_tile, bool add,
                     float* d) const {
    transpose({.from = tiles + key_tile * kTile * kTile,
               .to = s_.transposed,
               .rows = rows,
               .columns = rows_of(key_tile),
               .from_stride = kTile,
               .to_stride = kTile});
    multiply({.x = s_.transposed,
              .b = x,
              .y = d + first_key_ + key_tile * kTile * kv_stride_,
              .rows = rows_of(key_tile),
              .depth = rows,
              .width = dim_,
              .x_stride = kTile,
              .b_stride = dim_,
              .y_stride = kv_stride_,
              .accumulate = add});
  }

  void query_tile(int64_t head, int64_t tile, bool first_head) const {
    const int64_t rows = rows_of(tile);
    const int64_t first = first_query_ + tile * kTile * q_stride_ + head * dim_;
    const auto bytes = static_cast<size_t>(dim_) * sizeof(float);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(s_.q + row * dim_, args_.q + first + row * q_stride_, bytes);
      std::memcpy(s_.d_out + row * dim_, args_.d_out + first + row * q_stride_, bytes);
    }
    for (int64_t keys = 0; keys <= tile; ++keys) {
      against(s_.q, s_.keys, rows, keys, s_.probabilities);
      against(s_.d_out, s_.values, rows, keys, s_.d_scores);
    }
    const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_gradient);
    for (int64_t row = 0; row < rows; ++row)
      softmax(row, tile * kTile + row + 1, args_.scale, s_.probabilities, s_.d_scores);
    for (int64_t keys = 0; keys <= tile; ++keys) {
      // The first query that sees a tile of keys is in the tile of the same number.
      const bool add = !(first_head && keys == tile);
      gather_by_key(s_.probabilities, s_.d_out, rows, keys, add, args_.d_values);
      gather_by_key(s_.d_scores, s_.q, rows, keys, add, args_.d_keys);
      multiply({.x = s_.d_scores + keys * kTile * kTile,
                .b = args_.keys + first_key_ + keys * kTile * kv_stride_,
                .y = args_.dq + first,
                .rows = rows,
                .depth = rows_of(keys),
                .width = dim_,
                .x_stride = kTile,
                .b_stride = kv_stride_,
                .y_stride = q_stride_,
                .accumulate = keys > 0});
    }
  }

  const CausalAttentionBackwardArgs& args_;
  const Scratch& s_;
  int64_t dim_, q_stride_, kv_stride_, kv_head_, first_query_, first_key_;
};

}  // namespace

void causal_attention_backward(const CausalAttentionBackwardArgs& args, const OpContext& context) {
  const auto floats = static_cast<size_t>(Scratch::floats(args.tokens, args.head_dim));
  Workspace::Scope scope(context.workspace);
  const auto memory = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  parallel_for(context.threads, static_cast<size_t>(args.sequences * args.kv_heads),
               [&](size_t index, int worker) {
                 const Scratch scratch(memory.data() + floats * static_cast<size_t>(worker),
                                       args.tokens, args.head_dim);
                 const auto task = static_cast<int64_t>(index);
                 HeadBackward(args, task / args.kv_heads, task % args.kv_heads, scratch).run();
               });
}

}  // namespace qround::ops::cpu
#endif
