// dW = dyᵀ x, a tile of rows of dW at a time, through blocks of 256 tokens: the tile's columns of
// dy are transposed into the second-level cache and multiplied with 64 columns of x after the
// other. The tile itself lies in the scratch of the thread and goes to the consumer from there.
//
// Columns of a wide x lie a large power of two apart, compete for the same places in the caches and
// have to be brought together. Every tile of every map that reads x needs them, so it is done once,
// beforehand: 256 columns at a time inside the tiles cost a fifth of the speed at K = 2048.
#include "ops/weight_gradient.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"

namespace qround::ops::cpu {
namespace {

constexpr int64_t kDepth = 256;      // tokens
constexpr int64_t kWidth = 64;       // columns of x
constexpr int64_t kShortRow = 512;   // rows of x up to here are read as they lie
constexpr int64_t kPackedRows = 64;  // rows of x in a packing task
constexpr int64_t kMaxTileFloats = int64_t{1} << 20;

// Rows of dW in a tile: the more, the less copying per product, but matrices of few rows must give
// work to several threads.
int64_t tile_rows(int64_t n, int64_t k) {
  const int64_t wanted = n > 512 ? 256 : n > 128 ? 128 : 64;
  return std::max<int64_t>(32, std::min(wanted, kMaxTileFloats / k / 32 * 32));
}

// Strips of 64 columns of x: [K / 64][T][64].
struct Strips {
  const float* first = nullptr;
  int64_t strip_stride = 0, row_stride = 0;
};

struct Tile {
  const WeightGradientJob* job;
  Strips x;
  int64_t begin, end;
  int64_t cost() const { return job->rows * job->k * (end - begin); }
};

bool same_x(const WeightGradientJob& a, const WeightGradientJob& b) {
  return a.x == b.x && a.x_stride == b.x_stride && a.rows == b.rows && a.k == b.k;
}

void pack_rows(const WeightGradientJob& job, int64_t begin, int64_t end, float* strips) {
  for (int64_t t = begin; t < end; ++t)
    for (int64_t k = 0; k < job.k; k += kWidth)
      std::copy_n(job.x + t * job.x_stride + k, std::min(kWidth, job.k - k),
                  strips + k * job.rows + t * kWidth);
}

// The strips of every job's x.
std::vector<Strips> pack_inputs(std::span<const WeightGradientJob> jobs, Workspace::Scope& scope,
                                Threads threads) {
  struct Packing {
    const WeightGradientJob* job;
    float* strips;
    int64_t first_row;
  };
  std::vector<Strips> inputs;
  std::vector<Packing> packings;
  size_t last = 0;  // the latest job whose x was packed
  for (size_t i = 0; i < jobs.size(); ++i) {
    const WeightGradientJob& job = jobs[i];
    if (job.x_stride <= kShortRow) {
      inputs.push_back({job.x, kWidth, job.x_stride});
    } else if (!packings.empty() && same_x(job, jobs[last])) {
      inputs.push_back(inputs[last]);
    } else {
      const int64_t padded = (job.k + kWidth - 1) / kWidth * kWidth;
      float* strips = scope.take<float>(static_cast<size_t>(padded * job.rows)).data();
      for (int64_t row = 0; row < job.rows; row += kPackedRows)
        packings.push_back({&job, strips, row});
      inputs.push_back({strips, kWidth * job.rows, kWidth});
      last = i;
    }
  }
  parallel_for(threads, packings.size(), [&](size_t index, int) {
    const Packing& p = packings[index];
    pack_rows(*p.job, p.first_row, std::min(p.job->rows, p.first_row + kPackedRows), p.strips);
  });
  return inputs;
}

std::vector<Tile> tiles_of(std::span<const WeightGradientJob> jobs,
                           const std::vector<Strips>& inputs) {
  std::vector<Tile> tiles;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int64_t rows = tile_rows(jobs[i].n, jobs[i].k);
    for (int64_t n = 0; n < jobs[i].n; n += rows)
      tiles.push_back({&jobs[i], inputs[i], n, std::min(jobs[i].n, n + rows)});
  }
  // The largest first, so that the threads end together.
  std::sort(tiles.begin(), tiles.end(), [](const Tile& a, const Tile& b) {
    return std::tuple(b.cost(), a.job, a.begin) < std::tuple(a.cost(), b.job, b.begin);
  });
  return tiles;
}

// values [rows of the tile, K] (+)= dyᵀ x over tokens [t, t + depth). transposed: scratch
// [rows of the tile, kDepth].
void add_tokens(const Tile& tile, int64_t t, int64_t depth, float* transposed, float* values) {
  const WeightGradientJob& job = *tile.job;
  const int64_t rows = tile.end - tile.begin;
  transpose({.from = job.dy + t * job.dy_stride + tile.begin,
             .to = transposed,
             .rows = depth,
             .columns = rows,
             .from_stride = job.dy_stride,
             .to_stride = kDepth});
  for (int64_t k = 0; k < job.k; k += kWidth)
    multiply({.x = transposed,
              .b = tile.x.first + k / kWidth * tile.x.strip_stride + t * tile.x.row_stride,
              .y = values + k,
              .rows = rows,
              .depth = depth,
              .width = std::min(kWidth, job.k - k),
              .x_stride = kDepth,
              .b_stride = tile.x.row_stride,
              .y_stride = job.k,
              .accumulate = t > 0});
}

}  // namespace

void weight_gradient_tiles(std::span<const WeightGradientJob> all, const WeightGradientSink& sink,
                           const OpContext& context) {
  std::vector<WeightGradientJob> jobs;
  for (const WeightGradientJob& job : all)
    if (sink.wants(job.matrix)) jobs.push_back(job);
  int64_t most_values = 0, most_rows = 0;
  for (const WeightGradientJob& job : jobs) {
    most_rows = std::max(most_rows, tile_rows(job.n, job.k));
    most_values = std::max(most_values, tile_rows(job.n, job.k) * job.k);
  }
  const auto floats = static_cast<size_t>(most_values + most_rows * kDepth);
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  const std::vector<Tile> tiles = tiles_of(jobs, pack_inputs(jobs, scope, context.threads));
  parallel_for(context.threads, tiles.size(), [&](size_t index, int worker) {
    const Tile& tile = tiles[index];
    const WeightGradientJob& job = *tile.job;
    float* values = scratch.data() + floats * static_cast<size_t>(worker);
    if (job.rows == 0) std::fill_n(values, (tile.end - tile.begin) * job.k, 0.0f);
    for (int64_t t = 0; t < job.rows; t += kDepth)
      add_tokens(tile, t, std::min(kDepth, job.rows - t), values + most_values, values);
    deliver(sink,
            {.matrix = job.matrix,
             .row_begin = tile.begin,
             .row_end = tile.end,
             .k = job.k,
             .values = values,
             .worker = worker},
            sign_round_step, sign_round, context);
  });
}

}  // namespace qround::ops::cpu
