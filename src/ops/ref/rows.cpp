#include "ops/rows.h"

#include <algorithm>

#include "ops/linear.h"

namespace qround::ops::ref {

void add(const float* x, float* sum, int64_t count, const OpContext&) {
  for (int64_t i = 0; i < count; ++i) sum[i] += x[i];
}

void copy_rows(const CopyRowsArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row)
    std::copy_n(args.x + row * args.x_stride, args.width, args.out + row * args.out_stride);
}

void gather_rows(const GatherRowsArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row)
    std::copy_n(args.x + args.choices[row] / args.choices_per_row * args.width, args.width,
                args.out + row * args.width);
}

void column_squares(const ColumnSquaresArgs& args, const OpContext&) {
  std::fill_n(args.squares, args.k, 0.0);
  for (int64_t row = 0; row < args.rows; ++row) {
    const double weight =
        args.weights == nullptr ? 1.0 : double{args.weights[row]} * double{args.weights[row]};
    for (int64_t i = 0; i < args.k; ++i) {
      const auto x = double{args.x[row * args.k + i]};
      args.squares[i] += weight * x * x;
    }
  }
}

void embed(const Weight& table, const EmbedArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const int32_t id = args.ids[row];
    dequantize_rows(table, id, id + 1, args.out + row * inputs(table));
  }
}

void largest_in_rows(const LargestInRowsArgs& args, const OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.width;
    args.places[row] = static_cast<int32_t>(std::max_element(x, x + args.width) - x);
  }
}

}  // namespace qround::ops::ref
