// dW = dyᵀ x, a tile of rows of dW at a time, through blocks of 256 tokens: the tile's columns of
// dy are transposed into the second-level cache and multiplied with 64 columns of x after the
// other. The tile itself lies in the scratch of the thread and goes to the consumer from there.
#include "ops/weight_gradient.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"

namespace qround::ops::cpu {
namespace {

constexpr int64_t kDepth = 256;  // tokens
constexpr int64_t kWidth = 64;   // columns of x
// Columns of x are brought together unless its rows are this short: rows a larger power of two
// apart compete for the same places in the caches.
constexpr int64_t kShortRow = 512;
constexpr int64_t kMaxTileFloats = int64_t{1} << 20;

// Rows of dW in a tile: the more, the less copying per product, but matrices of few rows must give
// work to several threads.
int64_t tile_rows(int64_t n, int64_t k) {
  const int64_t wanted = n > 512 ? 256 : n > 128 ? 128 : 64;
  return std::max<int64_t>(32, std::min(wanted, kMaxTileFloats / k / 32 * 32));
}

struct Tile {
  const WeightGradientJob* job;
  int64_t begin, end;
  int64_t cost() const { return job->rows * job->k * (end - begin); }
};

std::vector<Tile> tiles_of(std::span<const WeightGradientJob> jobs) {
  std::vector<Tile> tiles;
  for (const WeightGradientJob& job : jobs) {
    const int64_t rows = tile_rows(job.n, job.k);
    for (int64_t n = 0; n < job.n; n += rows) tiles.push_back({&job, n, std::min(job.n, n + rows)});
  }
  // The largest first, so that the threads end together.
  std::stable_sort(tiles.begin(), tiles.end(),
                   [](const Tile& a, const Tile& b) { return a.cost() > b.cost(); });
  return tiles;
}

struct Scratch {
  float* values;      // [tile rows, K]
  float* transposed;  // [tile rows, kDepth]
  float* columns;     // [kDepth, kWidth]
};

// values (+)= dyᵀ x over tokens [t, t + depth).
void add_tokens(const Tile& tile, int64_t t, int64_t depth, const Scratch& scratch) {
  const WeightGradientJob& job = *tile.job;
  const int64_t rows = tile.end - tile.begin;
  transpose({.from = job.dy + t * job.dy_stride + tile.begin,
             .to = scratch.transposed,
             .rows = depth,
             .columns = rows,
             .from_stride = job.dy_stride,
             .to_stride = kDepth});
  for (int64_t k = 0; k < job.k; k += kWidth) {
    const int64_t width = std::min(kWidth, job.k - k);
    const float* x = job.x + t * job.x_stride + k;
    const bool as_it_lies = job.x_stride <= kShortRow;
    for (int64_t i = 0; i < depth && !as_it_lies; ++i)
      std::memcpy(scratch.columns + i * kWidth, x + i * job.x_stride,
                  static_cast<size_t>(width) * sizeof(float));
    multiply({.x = scratch.transposed,
              .b = as_it_lies ? x : scratch.columns,
              .y = scratch.values + k,
              .rows = rows,
              .depth = depth,
              .width = width,
              .x_stride = kDepth,
              .b_stride = as_it_lies ? job.x_stride : kWidth,
              .y_stride = job.k,
              .accumulate = t > 0});
  }
}

}  // namespace

void weight_gradient_tiles(std::span<const WeightGradientJob> jobs,
                           const WeightGradientConsumer& consume, const OpContext& context) {
  int64_t most_values = 0, most_rows = 0;
  for (const WeightGradientJob& job : jobs) {
    most_rows = std::max(most_rows, tile_rows(job.n, job.k));
    most_values = std::max(most_values, tile_rows(job.n, job.k) * job.k);
  }
  const auto floats = static_cast<size_t>(most_values + most_rows * kDepth + kDepth * kWidth);
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  const std::vector<Tile> tiles = tiles_of(jobs);
  parallel_for(context.threads, tiles.size(), [&](size_t index, int worker) {
    const Tile& tile = tiles[index];
    const WeightGradientJob& job = *tile.job;
    float* values = scratch.data() + floats * static_cast<size_t>(worker);
    float* transposed = values + most_values;
    if (job.rows == 0) std::fill_n(values, (tile.end - tile.begin) * job.k, 0.0f);
    for (int64_t t = 0; t < job.rows; t += kDepth)
      add_tokens(tile, t, std::min(kDepth, job.rows - t),
                 {values, transposed, transposed + most_rows * kDepth});
    consume({.matrix = job.matrix,
             .row_begin = tile.begin,
             .row_end = tile.end,
             .k = job.k,
             .values = values,
             .worker = worker});
  });
}

}  // namespace qround::ops::cpu
