#include "ops/squared_error.h"

#include <algorithm>

namespace qround::ops::ref {

void squared_error(const SquaredErrorArgs& args, const OpContext&) {
  const auto count = static_cast<double>(args.rows * args.width);
  double total = 0;
  for (int64_t row = 0; row < args.rows; ++row) {
    const int64_t first = row * args.width;
    double weight = 1;
    if (args.row_weight == RowWeight::inverse_energy) {
      double energy = 0;
      for (int64_t i = first; i < first + args.width; ++i)
        energy += double{args.target[i]} * double{args.target[i]};
      weight = 1 / std::max(energy / static_cast<double>(args.width), kLeastMeanSquare);
    }
    const auto factor = static_cast<float>(2 * args.gradient_scale * weight / count);
    double sum = 0;
    for (int64_t i = first; i < first + args.width; ++i) {
      const float error = args.y[i] - args.target[i];
      sum += double{error} * double{error};
      if (args.dy != nullptr) args.dy[i] = factor * error;
    }
    total += weight * sum;
  }
  *args.loss = total / count;
}

}  // namespace qround::ops::ref
