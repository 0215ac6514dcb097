#include "ops/cpu/linear_share.h"

#include <algorithm>

#include "base/dtype.h"
#include "ops/cpu/bf16_pairs.h"
#include "ops/cpu/dense_rows.h"
#include "ops/cpu/int4_groups.h"
#include "ops/cpu/int4_rows.h"
#include "ops/cpu/int4_strip.h"
#include "ops/cpu/matrix_product.h"
#include "ops/cpu/transpose.h"

namespace qround::ops::cpu {
namespace {

static_assert(kShareScratchFloats == kStripWidth * kStripDepth);

// Up to this many rows int4 codes are multiplied as they lie; beyond, it pays to convert each strip
// to f32 once. Measured on two Zen 4 cores: equal at 12 rows.
constexpr int64_t kFewInt4Rows = 8;

// Rows of x that stay in the second-level cache beside a share's weights.
constexpr int64_t kCachedFloats = 64 * 1024;

void few_rows_share(const DenseWeight& weight, const LinearShare& share) {
  const auto* data = static_cast<const std::byte*>(weight.data);
  const int64_t row_bytes = weight.k * static_cast<int64_t>(dtype_bytes(weight.dtype));
  const int64_t block = std::max<int64_t>(4, kCachedFloats / weight.k / 4 * 4);
  for (int64_t row = 0; row < share.rows; row += block)
    multiply_dense_rows(
        {.dtype = weight.dtype,
         .w = data + share.begin * row_bytes,
         .x = share.x + row * weight.k,
         .x_pairs = share.x_pairs == nullptr ? nullptr : share.x_pairs + row * pairs(weight.k),
         .y = share.y + row * share.y_stride + share.begin,
         .rows = std::min(block, share.rows - row),
         .outputs = share.end - share.begin,
         .depth = weight.k,
         .w_stride = weight.k,
         .x_stride = weight.k,
         .y_stride = share.y_stride});
}

void few_rows_share(const Int4Weight& weight, const LinearShare& share) {
  multiply_int4_rows({.weight = &weight,
                      .x = share.x,
                      .y = share.y,
                      .rows = share.rows,
                      .begin = share.begin,
                      .end = share.end,
                      .x_stride = weight.k,
                      .y_stride = share.y_stride});
}

void make_strip(const Int4Weight& weight, const StripRange& range, float* strip) {
  make_int4_strip(weight, range, strip);
}

void make_strip(const DenseWeight& weight, const StripRange& range, float* strip) {
  const auto element_bytes = static_cast<int64_t>(dtype_bytes(weight.dtype));
  transpose({.dtype = weight.dtype,
             .from = static_cast<const std::byte*>(weight.data) +
                     (range.n_begin * weight.k + range.k_begin) * element_bytes,
             .to = strip,
             .rows = range.n_end - range.n_begin,
             .columns = range.k_end - range.k_begin,
             .from_stride = weight.k,
             .to_stride = kStripWidth});
}

// In pairs of inputs.
void make_strip(const DenseWeight& weight, const StripRange& range, uint32_t* strip) {
  transpose_column_pairs(
      {.dtype = weight.dtype,
       .from = static_cast<const uint16_t*>(weight.data) + range.n_begin * weight.k + range.k_begin,
       .to = strip,
       .rows = range.n_end - range.n_begin,
       .columns = range.k_end - range.k_begin,
       .from_stride = weight.k,
       .to_stride = kStripWidth});
}

// x: the share's, as elements.
template <class Element, class Weight>
void many_rows_share(const Weight& weight, const LinearShare& share, const Element* x,
                     Element* strip) {
  constexpr int64_t kDepth = kStripDepth * kNumbers<Element>;
  for (int64_t k = 0; k < weight.k; k += kDepth)
    for (int64_t n = share.begin; n < share.end; n += kStripWidth) {
      const StripRange range{.n_begin = n,
                             .n_end = std::min(share.end, n + kStripWidth),
                             .k_begin = k,
                             .k_end = std::min(weight.k, k + kDepth)};
      make_strip(weight, range, strip);
      multiply(Product<Element>{.x = x + elements<Element>(k),
                                .b = strip,
                                .y = share.y + n,
                                .rows = share.rows,
                                .depth = elements<Element>(range.k_end - k),
                                .width = range.n_end - n,
                                .x_stride = elements<Element>(weight.k),
                                .b_stride = kStripWidth,
                                .y_stride = share.y_stride,
                                .accumulate = k > 0});
    }
}

}  // namespace

int64_t share_width(int64_t n_outputs) { return n_outputs >= 2048 ? 256 : 128; }

void linear_share(const LinearShare& share, float* scratch) {
  if (const auto* dense = std::get_if<DenseWeight>(share.weight)) {
    if (!share.many_rows) return few_rows_share(*dense, share);
    if (share.x_pairs == nullptr) return many_rows_share(*dense, share, share.x, scratch);
    return many_rows_share(*dense, share, share.x_pairs, reinterpret_cast<uint32_t*>(scratch));
  }
  const auto& int4 = std::get<Int4Weight>(*share.weight);
  if (share.rows <= kFewInt4Rows && has_word_groups(int4)) return few_rows_share(int4, share);
  many_rows_share(int4, share, share.x, scratch);
}

}  // namespace qround::ops::cpu
