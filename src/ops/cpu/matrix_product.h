// y = x B for a B that lies in the cache: the product under linear maps of many rows, attention and
// the chunks of the delta rule. Of f32, or of pairs of BF16 numbers with f32 sums.
//
// B is row-major and read as it lies, so whoever converts weights writes what a BLAS would pack.
// Every y[r][n] is one chain of multiply-adds in the order of k (of pairs: the second, then the
// first): its bits do not depend on the number of rows and outputs nor, where multiply-add is
// fused, on the width of the vectors.
// Measured on two Zen 4 cores with AVX-512, depth 256 to 2048 and B in the second-level cache:
// 112-117 GFLOP/s per core for 4 rows and more; OpenBLAS 0.3.21 gives 43 (4 rows), 75 (16), 96
// (64), 102 (512).
#pragma once

#include <cstdint>

namespace qround::ops::cpu {

// An element is an f32, or a pair of BF16 numbers k and k + 1, the first in the lower half; depth
// and strides of x and b count elements.
template <class Element>
struct Product {
  const Element* x = nullptr;  // [rows, depth]
  const Element* b = nullptr;  // [depth, width]
  float* y = nullptr;          // [rows, width], aliases neither
  int64_t rows = 0, depth = 0, width = 0;
  int64_t x_stride = 0, b_stride = 0, y_stride = 0;  // from one row to the next
  bool accumulate = false;                           // y += instead of y =
};
using MatrixProduct = Product<float>;
using PairProduct = Product<uint32_t>;

void multiply(const MatrixProduct& product);
void multiply(const PairProduct& product);

// Numbers in an element, and elements that hold so many numbers.
template <class Element>
constexpr int64_t kNumbers = 1;
template <>
constexpr int64_t kNumbers<uint32_t> = 2;
template <class Element>
constexpr int64_t elements(int64_t numbers) {
  return (numbers + kNumbers<Element> - 1) / kNumbers<Element>;
}

}  // namespace qround::ops::cpu
