#include "ops/rows.h"

#include <algorithm>

#include "base/threads.h"

namespace qround::ops::cpu {
namespace {

constexpr int64_t kRows = 32;         // a task's
constexpr int64_t kFloats = 1 << 16;  // a task's
constexpr int64_t kColumns = 64;      // a task's, of sums over rows

// body(begin, end) over [0, count) in steps, in parallel.
template <typename Body>
void for_blocks(Threads threads, int64_t count, int64_t step, const Body& body) {
  parallel_for(threads, static_cast<size_t>((count + step - 1) / step), [&](size_t block, int) {
    const int64_t begin = static_cast<int64_t>(block) * step;
    body(begin, std::min(count, begin + step));
  });
}

}  // namespace

void add(const float* x, float* sum, int64_t count, const OpContext& context) {
  for_blocks(context.threads, count, kFloats, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum[i] += x[i];
  });
}

void copy_rows(const CopyRowsArgs& args, const OpContext& context) {
  for_blocks(context.threads, args.rows, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::copy_n(args.x + row * args.x_stride, args.width, args.out + row * args.out_stride);
  });
}

void gather_rows(const GatherRowsArgs& args, const OpContext& context) {
  for_blocks(context.threads, args.rows, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::copy_n(args.x + args.choices[row] / args.choices_per_row * args.width, args.width,
                  args.out + row * args.width);
  });
}

void column_squares(const ColumnSquaresArgs& args, const OpContext& context) {
  for_blocks(context.threads, args.k, kColumns, [&](int64_t begin, int64_t end) {
    std::fill(args.squares + begin, args.squares + end, 0.0);
    for (int64_t row = 0; row < args.rows; ++row) {
      const float* x = args.x + row * args.k;
      const double weight =
          args.weights == nullptr ? 1.0 : double{args.weights[row]} * double{args.weights[row]};
      for (int64_t i = begin; i < end; ++i) args.squares[i] += weight * double{x[i]} * double{x[i]};
    }
  });
}

}  // namespace qround::ops::cpu
