// Weight gradients of linear maps, dW = dyᵀ x, a tile of rows at a time: whoever turns them into
// steps of a tuned weight never holds a whole dW. A tile goes to a function, or, said as data that
// any backend can act on where the tile lies, becomes sign steps at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "ops/sign_round.h"
#include "ops/workspace.h"

namespace qround::ops {

struct WeightGradientJob {
  int64_t matrix = 0;                   // the caller's name for it
  const float* x = nullptr;             // [T, K], what the map read
  const float* dy = nullptr;            // [T, N], the gradient of what it wrote
  int64_t rows = 0, n = 0, k = 0;       // T, N, K
  int64_t x_stride = 0, dy_stride = 0;  // floats from one row to the next
};

struct WeightGradientTile {
  int64_t matrix = 0;
  int64_t row_begin = 0, row_end = 0;  // rows of dW
  int64_t k = 0;
  float* values = nullptr;  // [row_end - row_begin, K]; the consumer may overwrite them, they are
                            // gone when it returns
  int worker = 0;           // as parallel_for numbers them
};

// Called from several threads at once, never for the same rows. Exceptions end the whole pass.
using WeightGradientConsumer = std::function<void(const WeightGradientTile& tile)>;

// A matrix whose gradient becomes sign steps of its rounding parameters, and then its new values.
struct SignRoundTarget {
  DenseWeight weight;      // W [N, K] of the source
  SignRoundRows rows;      // v, alpha, beta, group size; begin and end are not read. v null: its
                           // gradient is not wanted
  SignRoundResult result;  // what the matrix is after the step
};

struct SignRoundUpdate {
  SignRoundRule rule;
  const SignRoundStepSizes* sizes =
      nullptr;                               // in the backend's memory, read while the work is done
  std::span<const SignRoundTarget> targets;  // by WeightGradientJob::matrix
};

// Where weight gradients go: to one of the two. `update` does with each row of dW what
// sign_round_step and then sign_round of it do. Functions get values in the host's memory; a
// backend whose memory is another waits for its results and copies them.
struct WeightGradientSink {
  const WeightGradientConsumer* consume = nullptr;
  const SignRoundUpdate* update = nullptr;

  bool wants(int64_t matrix) const {
    return update == nullptr || update->targets[static_cast<size_t>(matrix)].rows.v != nullptr;
  }
};

// What host backends do with a finished tile.
void deliver(const WeightGradientSink& sink, const WeightGradientTile& tile,
             SignRoundStepFunction* step, SignRoundFunction* round, const OpContext& context);

// Every tile of every job once, in any order. How a matrix is cut depends on N and K alone. With
// Activations::bf16 x and dy are rounded to BF16; sums are f32.
using WeightGradientTilesFunction = void(std::span<const WeightGradientJob> jobs,
                                         const WeightGradientSink& sink, const OpContext& context);

namespace ref {
WeightGradientTilesFunction weight_gradient_tiles;
}

namespace cpu {
WeightGradientTilesFunction weight_gradient_tiles;
}

namespace cuda {
WeightGradientTilesFunction weight_gradient_tiles;
}  // namespace cuda

}  // namespace qround::ops
