// Which product a linear map takes. A weight as the engine has it, BF16 or int4, goes through
// RowsProduct, whose rows keep their bits whatever rows come with them; where the caller says that
// rows are many, a dense one goes to the larger tiles of linear_many_rows, and so does every weight
// that RowsProduct cannot read, as a bf16 copy.
#include "ops/cuda/linear_many_rows.h"
#include "ops/cuda/rows_product_inputs.h"
#include "ops/linear.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256;

template <class Columns, class Product>
__global__ void __launch_bounds__(Product::kThreads)
    multiply(Columns w, const uint16_t* x, int64_t rows, float* y) {
  const int64_t first_row = int64_t{blockIdx.y} * Product::kRows;
  const int64_t first_column = int64_t{blockIdx.x} * Product::kOutputs;
  Product product;
  product.run([&](int row) { return x + min(first_row + row, rows - 1) * w.k; },
              [&](int column) { return Column<Columns>{w, min(first_column + column, w.n - 1)}; },
              w.k);
  product.for_each([&](int tile_row, int tile_column, float value) {
    const int64_t row = first_row + tile_row, column = first_column + tile_column;
    if (row < rows && column < w.n) y[row * w.n + column] = value;
  });
}

template <class Columns, class Product>
void launch_product(const Columns& w, const uint16_t* x, int64_t rows, float* y, Stream* stream) {
  const dim3 grid(static_cast<unsigned>((w.n + Product::kOutputs - 1) / Product::kOutputs),
                  static_cast<unsigned>((rows + Product::kRows - 1) / Product::kRows));
  launch(multiply<Columns, Product>, grid, Product::kThreads, Product::kSharedBytes, stream, w, x,
         rows, y);
}

template <class Columns>
void rows_product(const Columns& w, const uint16_t* x, int64_t rows, float* y, Stream* stream) {
  if (rows <= kFewRows) {
    launch_product<Columns, FewRowsProduct<Columns>>(w, x, rows, y, stream);
  } else {
    launch_product<Columns, ManyRowsProduct<Columns>>(w, x, rows, y, stream);
  }
}

template <class AnyWeight>
__global__ void dequantize(AnyWeight weight, int64_t begin, int64_t count, float* out) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index < count) out[index] = weight_value(weight, begin * weight.k + index);
}

}  // namespace

void linear(const Weight& weight, const float* x, int64_t rows, float* y,
            const OpContext& context) {
  if (rows == 0) return;
  Workspace::Scope scope(context.workspace);
  const auto* int4 = std::get_if<Int4Weight>(&weight);
  const auto* dense = std::get_if<DenseWeight>(&weight);
  if (int4 != nullptr && fits_rows_product(*int4)) {
    rows_product(columns_of(*int4), round_for_int4(x, rows, int4->k, scope, context), rows, y,
                 context.stream);
  } else if (dense != nullptr && !context.many_rows && fits_rows_product(*dense)) {
    rows_product(columns_of(*dense), round_for_dense(x, rows, dense->k, scope, context), rows, y,
                 context.stream);
  } else {
    linear_many_rows(weight, x, rows, y, context);
  }
}

void dequantize_rows(const Weight& weight, int64_t begin, int64_t end, float* out) {
  const int64_t count = (end - begin) * inputs(weight);
  std::visit(
      [&](const auto& w) {
        launch(dequantize<std::decay_t<decltype(w)>>,
               static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, nullptr, w,
               begin, count, out);
      },
      weight);
}

}  // namespace qround::ops::cuda
