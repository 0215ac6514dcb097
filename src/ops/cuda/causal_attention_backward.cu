// Gradients of attention without a T x S matrix and without float atomics. For each sequence the
// forward pass runs again for its outputs and the logarithms of its softmax's denominators; from
// these every probability can be made anew where it is needed:
//
//   p = exp(scale q k - log_sum)    ds = p (d_out v - delta) scale    delta = d_out out
//
// d_keys, d_values: a block has 64 keys and goes through the queries that see them, 32 at a time;
// the query heads that share the keys are rows of the same loop, so their sum needs no second pass.
// dq: a block has 64 queries (token * group + head) and goes through their keys, 32 at a time.
// The scores are made twice, once in each kernel: that is the price of a fixed order of sums.
//
// Registers as nvcc 13.0 compiles it for sm_80, none spilled: 244 and 255 for heads of 256. Not yet
// run on a GPU.
//
// Tested by tests/ops/causal_attention_backward_test.cpp.
#include "ops/causal_attention.h"
#include "ops/cuda/attention_tile.h"
#include "ops/cuda/bf16_matrix.h"
#include "ops/cuda/causal_attention_forward.h"
#include "ops/cuda/reduce.h"

namespace qround::ops::cuda {
namespace {

constexpr int kOwn = 64, kOther = 32;  // a block's own rows, and those it goes through at a time
constexpr int kDeltaThreads = 256;

// One sequence's operands: bf16 [T, heads * D] as the products read them.
struct Sequence {
  Bf16Matrix q, d_out;                           // [T, Hq * D]
  Bf16Matrix keys, values;                       // [T, Hkv * D]
  const float* log_sums = nullptr;               // [T, Hq]
  const float* deltas = nullptr;                 // [T, Hq]
  float* dq = nullptr;                           // [T, Hq, D]
  float *d_keys = nullptr, *d_values = nullptr;  // [T, Hkv, D]
  int64_t tokens = 0, heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;

  __host__ __device__ int group() const { return static_cast<int>(heads / kv_heads); }
};

// Rows token * group + head of the query heads that share key/value head `kv_head`.
struct PackedRows {
  const uint16_t* data = nullptr;
  int64_t stride = 0, head_dim = 0;
  int group = 1;

  __device__ const uint16_t* at(int64_t row) const {
    return data + row / group * stride + row % group * head_dim;
  }
};

template <int kD, int kRows, int kThreads, class Rows>
using RowTile = TileLoader<Layout::k_major, kD, kRows, kThreads, Rows>;

struct Place {
  const Sequence& s;
  int kv_head;

  __device__ PackedRows packed(const Bf16Matrix& matrix) const {
    return {matrix.data + kv_head * s.group() * s.head_dim, matrix.stride, s.head_dim, s.group()};
  }
  __device__ PlainRows plain(const Bf16Matrix& matrix) const {
    return {matrix.data + kv_head * s.head_dim, matrix.stride, s.tokens};
  }
  // Of [T, Hq].
  __device__ int64_t query(int64_t row) const {
    return row / s.group() * s.heads + kv_head * s.group() + row % s.group();
  }
};

// Whether a head's columns can be copied 16 bytes at a time.
__device__ bool aligned(const Sequence& s) { return s.head_dim % kChunk == 0; }

template <int kD>
constexpr int tile_bytes(int rows) {
  return rows * kD * 2;
}

// 8 warps: four times 16 keys, two halves of D.
template <int kD>
struct KeyGradient {
  static constexpr int kThreads = 256, kHalf = kD / 2;
  static constexpr int kSharedBytes =
      2 * tile_bytes<kD>(kOwn) + 2 * tile_bytes<kD>(kOther) + 2 * kOther * 4;
};

template <int kD>
__global__ void __launch_bounds__(KeyGradient<kD>::kThreads) key_gradient(Sequence s) {
  using Shape = KeyGradient<kD>;
  using OwnTile = Bf16Tile<kOwn, kD>;
  using OtherTile = Bf16Tile<kOther, kD>;
  const Place place{s, static_cast<int>(blockIdx.y)};
  const int64_t first_key = int64_t{blockIdx.x} * kOwn, rows = s.tokens * s.group();
  uint16_t* keys = dynamic_shared<uint16_t>();
  uint16_t* values = keys + OwnTile::kValues;
  uint16_t* queries = values + OwnTile::kValues;
  uint16_t* d_outs = queries + OtherTile::kValues;
  auto* log_sums = reinterpret_cast<float*>(d_outs + OtherTile::kValues);
  float* deltas = log_sums + kOther;
  const int own = warp_idx() / 2 * 16, half = warp_idx() % 2 * Shape::kHalf;

  using OwnLoader = RowTile<kD, kOwn, Shape::kThreads, PlainRows>;
  OwnLoader(place.plain(s.keys), 0, s.head_dim, aligned(s)).load(keys, first_key, s.tokens);
  OwnLoader(place.plain(s.values), 0, s.head_dim, aligned(s)).load(values, first_key, s.tokens);
  cp_async_commit();
  float d_key[Shape::kHalf / 8][4]{}, d_value[Shape::kHalf / 8][4]{};
  for (int64_t row = first_key * s.group() / kOther * kOther; row < rows; row += kOther) {
    __syncthreads();
    using Loader = RowTile<kD, kOther, Shape::kThreads, PackedRows>;
    Loader(place.packed(s.q), 0, s.head_dim, aligned(s)).load(queries, row, rows);
    Loader(place.packed(s.d_out), 0, s.head_dim, aligned(s)).load(d_outs, row, rows);
    cp_async_commit();
    if (threadIdx.x < kOther) {
      const int64_t at = row + threadIdx.x;
      log_sums[threadIdx.x] = at < rows ? s.log_sums[place.query(at)] : 0;
      deltas[threadIdx.x] = at < rows ? s.deltas[place.query(at)] : 0;
    }
    cp_async_wait<0>();
    __syncthreads();
    // Keys are rows and queries columns: p and ds lie transposed, as the products need them.
    float p[kOther / 8][4]{}, ds[kOther / 8][4]{};
    multiply_rows<kD, kOther, OwnTile, OtherTile>(p, keys, own, queries);
    multiply_rows<kD, kOther, OwnTile, OtherTile>(ds, values, own, d_outs);
#pragma unroll
    for (int j = 0; j < kOther / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * j + lane_idx() % 4 * 2 + e % 2;
        const int64_t key = first_key + own + lane_idx() / 4 + e / 2 * 8;
        const int64_t token = (row + column) / s.group();
        const bool seen = key <= token && row + column < rows;
        p[j][e] = seen ? expf(p[j][e] * s.scale - log_sums[column]) : 0;
        ds[j][e] = p[j][e] * (ds[j][e] - deltas[column]) * s.scale;
      }
    multiply_fragments<kOther, Shape::kHalf, OtherTile>(d_value, p, d_outs, half);
    multiply_fragments<kOther, Shape::kHalf, OtherTile>(d_key, ds, queries, half);
  }
#pragma unroll
  for (int j = 0; j < Shape::kHalf / 8; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t key = first_key + own + lane_idx() / 4 + e / 2 * 8;
      const int column = half + 8 * j + lane_idx() % 4 * 2 + e % 2;
      if (key >= s.tokens || column >= s.head_dim) continue;
      const int64_t at = (key * s.kv_heads + place.kv_head) * s.head_dim + column;
      s.d_keys[at] = d_key[j][e];
      s.d_values[at] = d_value[j][e];
    }
}

template <int kD>
struct QueryGradient {
  static constexpr int kThreads = 128;
  static constexpr int kSharedBytes = 2 * tile_bytes<kD>(kOwn) + 2 * tile_bytes<kD>(kOther);
};

template <int kD>
__global__ void __launch_bounds__(QueryGradient<kD>::kThreads) query_gradient(Sequence s) {
  using Shape = QueryGradient<kD>;
  using OwnTile = Bf16Tile<kOwn, kD>;
  using OtherTile = Bf16Tile<kOther, kD>;
  const Place place{s, static_cast<int>(blockIdx.y)};
  const int64_t first_row = int64_t{blockIdx.x} * kOwn, rows = s.tokens * s.group();
  uint16_t* queries = dynamic_shared<uint16_t>();
  uint16_t* d_outs = queries + OwnTile::kValues;
  uint16_t* keys = d_outs + OwnTile::kValues;
  uint16_t* values = keys + OtherTile::kValues;
  const int own = warp_idx() * 16;

  using OwnLoader = RowTile<kD, kOwn, Shape::kThreads, PackedRows>;
  OwnLoader(place.packed(s.q), 0, s.head_dim, aligned(s)).load(queries, first_row, rows);
  OwnLoader(place.packed(s.d_out), 0, s.head_dim, aligned(s)).load(d_outs, first_row, rows);
  cp_async_commit();
  float log_sum[2], delta[2];
  int64_t token[2];
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first_row + own + lane_idx() / 4 + 8 * half;
    token[half] = row < rows ? row / s.group() : -1;
    log_sum[half] = row < rows ? s.log_sums[place.query(row)] : 0;
    delta[half] = row < rows ? s.deltas[place.query(row)] : 0;
  }
  const int64_t end = (min(first_row + kOwn, rows) - 1) / s.group() + 1;
  float dq[kD / 8][4]{};
  for (int64_t first_key = 0; first_key < end; first_key += kOther) {
    __syncthreads();
    using Loader = RowTile<kD, kOther, Shape::kThreads, PlainRows>;
    Loader(place.plain(s.keys), 0, s.head_dim, aligned(s)).load(keys, first_key, s.tokens);
    Loader(place.plain(s.values), 0, s.head_dim, aligned(s)).load(values, first_key, s.tokens);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    float p[kOther / 8][4]{}, ds[kOther / 8][4]{};
    multiply_rows<kD, kOther, OwnTile, OtherTile>(p, queries, own, keys);
    multiply_rows<kD, kOther, OwnTile, OtherTile>(ds, d_outs, own, values);
#pragma unroll
    for (int j = 0; j < kOther / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t key = first_key + 8 * j + lane_idx() % 4 * 2 + e % 2;
        const int half = e / 2;
        const float probability = key <= token[half] ? expf(p[j][e] * s.scale - log_sum[half]) : 0;
        ds[j][e] = probability * (ds[j][e] - delta[half]) * s.scale;
      }
    multiply_fragments<kOther, kD, OtherTile>(dq, ds, keys, 0);
  }
#pragma unroll
  for (int j = 0; j < kD / 8; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t row = first_row + own + lane_idx() / 4 + e / 2 * 8;
      const int column = 8 * j + lane_idx() % 4 * 2 + e % 2;
      if (row < rows && column < s.head_dim)
        s.dq[place.query(row) * s.head_dim + column] = dq[j][e];
    }
}

// delta = d_out · out, a warp to a query.
__global__ void dot_rows(const float* d_out, const float* out, int64_t rows, int64_t width,
                         float* deltas) {
  const int64_t row = int64_t{blockIdx.x} * (kDeltaThreads / kWarpLanes) + warp_idx();
  if (row >= rows) return;
  float sum = 0;
  for (int64_t i = lane_idx(); i < width; i += kWarpLanes)
    sum += d_out[row * width + i] * out[row * width + i];
  sum = warp_sum(sum);
  if (lane_idx() == 0) deltas[row] = sum;
}

template <int kD>
void launch_gradients(const Sequence& s, Stream* stream) {
  const auto blocks = [&](int64_t rows) {
    return dim3(static_cast<unsigned>((rows + kOwn - 1) / kOwn), static_cast<unsigned>(s.kv_heads));
  };
  launch(key_gradient<kD>, blocks(s.tokens), KeyGradient<kD>::kThreads,
         KeyGradient<kD>::kSharedBytes, stream, s);
  launch(query_gradient<kD>, blocks(s.tokens * s.group()), QueryGradient<kD>::kThreads,
         QueryGradient<kD>::kSharedBytes, stream, s);
}

void sequence_backward(const CausalAttentionBackwardArgs& args, int64_t sequence,
                       const OpContext& context) {
  const int64_t queries = args.tokens * args.heads, width = args.heads * args.head_dim;
  const int64_t kv_width = args.kv_heads * args.head_dim;
  const int64_t first = sequence * args.tokens;
  Workspace::Scope scope(context.workspace);
  float* out = scope.take<float>(static_cast<size_t>(args.tokens * width)).data();
  float* log_sums = scope.take<float>(static_cast<size_t>(queries)).data();
  float* deltas = scope.take<float>(static_cast<size_t>(queries)).data();
  causal_attention_with_log_sums({.q = args.q + first * width,
                                  .keys = args.keys + first * kv_width,
                                  .values = args.values + first * kv_width,
                                  .out = out,
                                  .tokens = args.tokens,
                                  .context = args.tokens,
                                  .heads = args.heads,
                                  .kv_heads = args.kv_heads,
                                  .head_dim = args.head_dim,
                                  .scale = args.scale},
                                 log_sums, context);
  constexpr int kRows = kDeltaThreads / kWarpLanes;
  launch(dot_rows, static_cast<unsigned>((queries + kRows - 1) / kRows), kDeltaThreads, 0,
         context.stream, args.d_out + first * width, out, queries, args.head_dim, deltas);
  const auto rounded = [&](const float* rows, int64_t columns) {
    return round_to_bf16({rows + first * columns, args.tokens, columns, columns}, scope, context);
  };
  const Sequence s{.q = rounded(args.q, width),
                   .d_out = rounded(args.d_out, width),
                   .keys = rounded(args.keys, kv_width),
                   .values = rounded(args.values, kv_width),
                   .log_sums = log_sums,
                   .deltas = deltas,
                   .dq = args.dq + first * width,
                   .d_keys = args.d_keys + first * kv_width,
                   .d_values = args.d_values + first * kv_width,
                   .tokens = args.tokens,
                   .heads = args.heads,
                   .kv_heads = args.kv_heads,
                   .head_dim = args.head_dim,
                   .scale = args.scale};
  with_head_dim(args.head_dim, [&]<int kD>() { launch_gradients<kD>(s, context.stream); });
}

}  // namespace

void causal_attention_backward(const CausalAttentionBackwardArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  for (int64_t sequence = 0; sequence < args.sequences; ++sequence)
    sequence_backward(args, sequence, context);
}

}  // namespace qround::ops::cuda
