#include "ops/cpu/input_gradient_share.h"

#include <algorithm>

#include "ops/cpu/bf16_pairs.h"
#include "ops/cpu/matrix_product.h"
#include "ops/ref/weight_value.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/input_gradient_share.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// W[n_begin .. n_end)[k_begin .. k_begin + width) as rows of `stride` floats. The product reads W
// as [depth N, width K], which is how it lies; only its elements are widened, and its rows brought
// together, since rows a power of two apart would compete for the same places in the caches.
HWY_ATTR void widen_block(const DenseWeight& weight, int64_t n_begin, int64_t n_end,
                          int64_t k_begin, int64_t width, int64_t stride, float* out) {
  with_elements(weight.dtype, weight.data, [&](const auto* data) HWY_ATTR {
    for (int64_t n = n_begin; n < n_end; ++n, out += stride) {
      const auto* row = data + n * weight.k + k_begin;
      int64_t k = 0;
      for (; k + kLanes <= width; k += kLanes) hn::StoreU(load_f32(F32(), row + k), F32(), out + k);
      for (; k < width; ++k) out[k] = value_f32(row[k]);
    }
  });
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(widen_block);

constexpr int64_t kBlockWidth = 64, kBlockDepth = 256;
static_assert(kInputShareScratchFloats == kBlockWidth * kBlockDepth);

void make_block(const Weight& weight, int64_t n_begin, int64_t n_end, int64_t k_begin,
                int64_t width, float* out) {
  if (const auto* dense = std::get_if<DenseWeight>(&weight)) {
    HWY_DYNAMIC_DISPATCH(widen_block)(*dense, n_begin, n_end, k_begin, width, kBlockWidth, out);
    return;
  }
  const auto& int4 = std::get<Int4Weight>(weight);
  for (int64_t n = n_begin; n < n_end; ++n, out += kBlockWidth)
    for (int64_t k = 0; k < width; ++k) out[k] = ref::weight_value(int4, n, k_begin + k);
}

// In pairs of outputs.
void make_block(const Weight& weight, int64_t n_begin, int64_t n_end, int64_t k_begin,
                int64_t width, uint32_t* out) {
  const auto& dense = std::get<DenseWeight>(weight);
  pair_rows({.dtype = dense.dtype,
             .from = static_cast<const uint16_t*>(dense.data) + n_begin * dense.k + k_begin,
             .to = out,
             .rows = n_end - n_begin,
             .columns = width,
             .from_stride = dense.k,
             .to_stride = kBlockWidth});
}

// dy: the share's, as elements.
template <class Element>
void multiply_share(const InputGradientShare& share, const Element* dy, Element* block) {
  constexpr int64_t kDepth = kBlockDepth * kNumbers<Element>;
  const int64_t n_outputs = outputs(*share.weight), n_inputs = inputs(*share.weight);
  for (int64_t n = 0; n < n_outputs; n += kDepth) {
    const int64_t end = std::min(n_outputs, n + kDepth);
    for (int64_t k = share.begin; k < share.end; k += kBlockWidth) {
      const int64_t width = std::min(kBlockWidth, share.end - k);
      make_block(*share.weight, n, end, k, width, block);
      multiply(Product<Element>{.x = dy + elements<Element>(n),
                                .b = block,
                                .y = share.dx + k,
                                .rows = share.rows,
                                .depth = elements<Element>(end - n),
                                .width = width,
                                .x_stride = elements<Element>(n_outputs),
                                .b_stride = kBlockWidth,
                                .y_stride = n_inputs,
                                .accumulate = share.add_to_dx || n > 0});
    }
  }
}

}  // namespace

void input_gradient_share(const InputGradientShare& share, float* scratch) {
  if (share.dy_pairs == nullptr) return multiply_share(share, share.dy, scratch);
  multiply_share(share, share.dy_pairs, reinterpret_cast<uint32_t*>(scratch));
}

}  // namespace qround::ops::cpu
#endif
