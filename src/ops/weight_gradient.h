// Weight gradients of linear maps, dW = dyᵀ x, a tile of rows at a time: whoever turns them into
// steps of a tuned weight never holds a whole dW.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

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

// Every tile of every job once, in any order. How a matrix is cut depends on N and K alone.
using WeightGradientTilesFunction = void(std::span<const WeightGradientJob> jobs,
                                         const WeightGradientConsumer& consume,
                                         const OpContext& context);

namespace ref {
WeightGradientTilesFunction weight_gradient_tiles;
}

namespace cpu {
WeightGradientTilesFunction weight_gradient_tiles;
}

}  // namespace qround::ops
