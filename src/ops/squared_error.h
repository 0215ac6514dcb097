// The loss of tuning a block: the mean squared error of its output, and its gradient.
#pragma once

#include <cstdint>

#include "ops/workspace.h"

namespace qround::ops {

// What a row's error counts.
enum class RowWeight {
  one,
  inverse_energy,  // 1 / the mean square of the row's target, but at most 1 / kLeastMeanSquare
};

// A row whose target is nearly zero weighs no more than one of this mean square.
inline constexpr double kLeastMeanSquare = 1e-6;

struct SquaredErrorArgs {
  const float* y = nullptr;       // [rows, width]
  const float* target = nullptr;  // [rows, width]
  float* dy = nullptr;            // [rows, width]: gradient_scale * dL/dy; or null
  double* loss = nullptr;         // 1 value: L = sum of row weight * (y - target)² / (rows * width)
  int64_t rows = 0, width = 0;
  RowWeight row_weight = RowWeight::one;
  double gradient_scale = 1;
};

// Sums are in double, of a device at least from the eighth term of a thread on; their order is
// always the same.
using SquaredErrorFunction = void(const SquaredErrorArgs& args, const OpContext& context);

namespace ref {
SquaredErrorFunction squared_error;
}
namespace cpu {
SquaredErrorFunction squared_error;
}
namespace cuda {
SquaredErrorFunction squared_error;
}

}  // namespace qround::ops
