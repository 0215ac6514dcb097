#include "ops/rows.h"

#include <algorithm>

#include "ops/cpu/row_blocks.h"
#include "ops/linear.h"

namespace qround::ops::cpu {

void add(const float* x, float* sum, int64_t count, const OpContext& context) {
  for_row_blocks(context.threads, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum[i] += x[i];
  });
}

void copy_rows(const CopyRowsArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.rows, args.width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::copy_n(args.x + row * args.x_stride, args.width, args.out + row * args.out_stride);
  });
}

void gather_rows(const GatherRowsArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.rows, args.width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::copy_n(args.x + args.choices[row] / args.choices_per_row * args.width, args.width,
                  args.out + row * args.width);
  });
}

void column_squares(const ColumnSquaresArgs& args, const OpContext& context) {
  constexpr int64_t kColumns = 64;  // side by side, so that rows are read by cache lines
  const int64_t blocks = (args.k + kColumns - 1) / kColumns;
  for_row_blocks(context.threads, blocks, kColumns * args.rows, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kColumns, end = std::min(args.k, last * kColumns);
    std::fill(args.squares + begin, args.squares + end, 0.0);
    for (int64_t row = 0; row < args.rows; ++row) {
      const float* x = args.x + row * args.k;
      const double weight =
          args.weights == nullptr ? 1.0 : double{args.weights[row]} * double{args.weights[row]};
      for (int64_t i = begin; i < end; ++i) args.squares[i] += weight * double{x[i]} * double{x[i]};
    }
  });
}

void embed(const Weight& table, const EmbedArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const int32_t id = args.ids[row];
    dequantize_rows(table, id, id + 1, args.out + row * inputs(table));
  }
}

void largest_in_rows(const LargestInRowsArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.rows, args.width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.x + row * args.width;
      args.places[row] = static_cast<int32_t>(std::max_element(x, x + args.width) - x);
    }
  });
}

}  // namespace qround::ops::cpu
