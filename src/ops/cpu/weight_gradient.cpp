// dW = dyᵀ x, a tile of rows of dW at a time, through blocks of 256 tokens, or of as many pairs of
// them: the tile's columns of dy are transposed into the second-level cache and multiplied with 64
// columns of x after the other. The tile itself lies in the scratch of the thread and goes to the
// consumer from there.
//
// Columns of a wide x lie a large power of two apart, compete for the same places in the caches and
// have to be brought together. Every tile of every map that reads x needs them, so it is done once,
// beforehand: 256 columns at a time inside the tiles cost a fifth of the speed at K = 2048. Pairs
// of tokens are always made beforehand.
#include "ops/weight_gradient.h"

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <vector>

#include "ops/cpu/bf16_pairs.h"
#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"

namespace qround::ops::cpu {
namespace {

constexpr int64_t kDepth = 256;      // tokens, or pairs of them
constexpr int64_t kWidth = 64;       // columns of x
constexpr int64_t kShortRow = 512;   // rows of x up to here are read as they lie
constexpr int64_t kPackedRows = 64;  // rows of x in a packing task; even
constexpr int64_t kMaxTileFloats = int64_t{1} << 20;

// Rows of dW in a tile: the more, the less copying per product, but matrices of few rows must give
// work to several threads.
int64_t tile_rows(int64_t n, int64_t k) {
  const int64_t wanted = n > 512 ? 256 : n > 128 ? 128 : 64;
  return std::max<int64_t>(32, std::min(wanted, kMaxTileFloats / k / 32 * 32));
}

// Strips of 64 columns of x: [K / 64][T][64] floats, or [K / 64][pairs(T)][64] pairs.
template <class Element>
struct Strips {
  const Element* first = nullptr;
  int64_t strip_stride = 0, row_stride = 0;
};

struct Tile {
  const WeightGradientJob* job;
  size_t input;  // index of its x among the strips
  int64_t begin, end;
  int64_t cost() const { return job->rows * job->k * (end - begin); }
};

bool same_x(const WeightGradientJob& a, const WeightGradientJob& b) {
  return a.x == b.x && a.x_stride == b.x_stride && a.rows == b.rows && a.k == b.k;
}

void pack_strip(const WeightGradientJob& job, int64_t t, int64_t end, int64_t k, float* strip) {
  for (; t < end; ++t, strip += kWidth)
    std::copy_n(job.x + t * job.x_stride + k, std::min(kWidth, job.k - k), strip);
}

void pack_strip(const WeightGradientJob& job, int64_t t, int64_t end, int64_t k, uint32_t* strip) {
  pair_rows({.from = job.x + t * job.x_stride + k,
             .to = strip,
             .rows = end - t,
             .columns = std::min(kWidth, job.k - k),
             .from_stride = job.x_stride,
             .to_stride = kWidth});
}

// The strips of every job's x.
template <class Element>
std::vector<Strips<Element>> pack_inputs(std::span<const WeightGradientJob> jobs,
                                         Workspace::Scope& scope, Threads threads) {
  struct Packing {
    const WeightGradientJob* job;
    Element* strips;
    int64_t first_row;
  };
  std::vector<Strips<Element>> inputs;
  std::vector<Packing> packings;
  size_t last = 0;  // the latest job whose x was packed
  for (size_t i = 0; i < jobs.size(); ++i) {
    const WeightGradientJob& job = jobs[i];
    if constexpr (std::is_same_v<Element, float>) {
      if (job.x_stride <= kShortRow) {
        inputs.push_back({job.x, kWidth, job.x_stride});
        continue;
      }
    }
    if (!packings.empty() && same_x(job, jobs[last])) {
      inputs.push_back(inputs[last]);
      continue;
    }
    const int64_t padded = (job.k + kWidth - 1) / kWidth * kWidth;
    const int64_t depth = elements<Element>(job.rows);
    Element* strips = scope.take<Element>(static_cast<size_t>(padded * depth)).data();
    for (int64_t row = 0; row < job.rows; row += kPackedRows)
      packings.push_back({&job, strips, row});
    inputs.push_back({strips, kWidth * depth, kWidth});
    last = i;
  }
  parallel_for(threads, packings.size(), [&](size_t index, int) {
    const Packing& p = packings[index];
    const int64_t end = std::min(p.job->rows, p.first_row + kPackedRows);
    for (int64_t k = 0; k < p.job->k; k += kWidth)
      pack_strip(
          *p.job, p.first_row, end, k,
          p.strips + k * elements<Element>(p.job->rows) + p.first_row / kNumbers<Element> * kWidth);
  });
  return inputs;
}

std::vector<Tile> tiles_of(std::span<const WeightGradientJob> jobs) {
  std::vector<Tile> tiles;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int64_t rows = tile_rows(jobs[i].n, jobs[i].k);
    for (int64_t n = 0; n < jobs[i].n; n += rows)
      tiles.push_back({&jobs[i], i, n, std::min(jobs[i].n, n + rows)});
  }
  // The largest first, so that the threads end together.
  std::sort(tiles.begin(), tiles.end(), [](const Tile& a, const Tile& b) {
    return std::tuple(b.cost(), a.job, a.begin) < std::tuple(a.cost(), b.job, b.begin);
  });
  return tiles;
}

// A thread's scratch: a tile of dW, columns of dy transposed, and those in pairs before that.
struct TileScratch {
  int64_t values = 0, columns = 0;  // elements of 4 bytes

  explicit TileScratch(std::span<const WeightGradientJob> jobs) {
    for (const WeightGradientJob& job : jobs) {
      const int64_t rows = tile_rows(job.n, job.k);
      values = std::max(values, rows * job.k);
      columns = std::max(columns, rows * kDepth);
    }
  }
  int64_t floats() const { return values + 2 * columns; }
};

// [rows of the tile, kDepth] from tokens [t, t + count) of dy.
const float* transpose_dy(const Tile& tile, int64_t t, int64_t count, float* to, float*) {
  transpose({.from = tile.job->dy + t * tile.job->dy_stride + tile.begin,
             .to = to,
             .rows = count,
             .columns = tile.end - tile.begin,
             .from_stride = tile.job->dy_stride,
             .to_stride = kDepth});
  return to;
}

const uint32_t* transpose_dy(const Tile& tile, int64_t t, int64_t count, uint32_t* to,
                             uint32_t* scratch) {
  transpose_row_pairs({.from = tile.job->dy + t * tile.job->dy_stride + tile.begin,
                       .to = to,
                       .rows = count,
                       .columns = tile.end - tile.begin,
                       .from_stride = tile.job->dy_stride,
                       .to_stride = kDepth},
                      scratch);
  return to;
}

// values [rows of the tile, K] = dyᵀ x.
template <class Element>
void make_tile(const Tile& tile, const Strips<Element>& x, const TileScratch& layout,
               float* values) {
  const WeightGradientJob& job = *tile.job;
  const int64_t rows = tile.end - tile.begin;
  auto* transposed = reinterpret_cast<Element*>(values + layout.values);
  if (job.rows == 0) std::fill_n(values, rows * job.k, 0.0f);
  for (int64_t t = 0; t < job.rows; t += kDepth * kNumbers<Element>) {
    const int64_t count = std::min(kDepth * kNumbers<Element>, job.rows - t);
    const Element* dy = transpose_dy(tile, t, count, transposed, transposed + layout.columns);
    for (int64_t k = 0; k < job.k; k += kWidth)
      multiply(Product<Element>{
          .x = dy,
          .b = x.first + k / kWidth * x.strip_stride + t / kNumbers<Element> * x.row_stride,
          .y = values + k,
          .rows = rows,
          .depth = elements<Element>(count),
          .width = std::min(kWidth, job.k - k),
          .x_stride = kDepth,
          .b_stride = x.row_stride,
          .y_stride = job.k,
          .accumulate = t > 0});
  }
}

template <class Element>
void run(std::span<const WeightGradientJob> jobs, const WeightGradientSink& sink,
         const OpContext& context) {
  const TileScratch layout(jobs);
  const auto floats = static_cast<size_t>(layout.floats());
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  const std::vector<Strips<Element>> inputs = pack_inputs<Element>(jobs, scope, context.threads);
  const std::vector<Tile> tiles = tiles_of(jobs);
  parallel_for(context.threads, tiles.size(), [&](size_t index, int worker) {
    const Tile& tile = tiles[index];
    float* values = scratch.data() + floats * static_cast<size_t>(worker);
    make_tile(tile, inputs[tile.input], layout, values);
    deliver(sink,
            {.matrix = tile.job->matrix,
             .row_begin = tile.begin,
             .row_end = tile.end,
             .k = tile.job->k,
             .values = values,
             .worker = worker},
            sign_round_step, sign_round, context);
  });
}

}  // namespace

void weight_gradient_tiles(std::span<const WeightGradientJob> all, const WeightGradientSink& sink,
                           const OpContext& context) {
  std::vector<WeightGradientJob> jobs;
  for (const WeightGradientJob& job : all)
    if (sink.wants(job.matrix)) jobs.push_back(job);
  if (context.activations == Activations::bf16) return run<uint32_t>(jobs, sink, context);
  run<float>(jobs, sink, context);
}

}  // namespace qround::ops::cpu
