#include "ops/squared_error.h"

#include <algorithm>

#include "base/threads.h"

namespace qround::ops::cpu {
namespace {

// Rows whose squared errors are summed together, whatever the number of threads.
constexpr int64_t kRows = 64;

double weight_of_row(const SquaredErrorArgs& args, int64_t row) {
  if (args.row_weight == RowWeight::one) return 1;
  const float* target = args.target + row * args.width;
  double sum = 0;
  for (int64_t i = 0; i < args.width; ++i) sum += double{target[i]} * double{target[i]};
  return 1 / std::max(sum / static_cast<double>(args.width), kLeastMeanSquare);
}

}  // namespace

void squared_error(const SquaredErrorArgs& args, const OpContext& context) {
  const auto blocks = static_cast<size_t>((args.rows + kRows - 1) / kRows);
  Workspace::Scope scope(context.workspace);
  const auto sums = scope.take<double>(blocks);
  const auto count = static_cast<double>(args.rows * args.width);
  parallel_for(context.threads, blocks, [&](size_t block, int) {
    const int64_t begin = static_cast<int64_t>(block) * kRows;
    double total = 0;
    for (int64_t row = begin; row < std::min(args.rows, begin + kRows); ++row) {
      const double row_weight = weight_of_row(args, row);
      const auto factor = static_cast<float>(2 * args.gradient_scale * row_weight / count);
      double sum = 0;
      for (int64_t i = row * args.width; i < (row + 1) * args.width; ++i) {
        const float error = args.y[i] - args.target[i];
        sum += double{error} * double{error};
        if (args.dy != nullptr) args.dy[i] = factor * error;
      }
      total += row_weight * sum;
    }
    sums[block] = total;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  *args.loss = total / count;
}

}  // namespace qround::ops::cpu
