#include "ops/cpu/transpose.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/transpose.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/transpose_square-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Stored weights as f32.
template <class Element>
struct Widened {
  const Element* elements;
  int64_t row_stride, columns;

  HWY_INLINE float at(int64_t row, int64_t column) const {
    return value_f32(elements[row * row_stride + column]);
  }
  template <class Tag>
  HWY_INLINE hn::Vec<Tag> load(Tag d, int64_t row, int64_t column) const {
    return load_f32(d, elements + row * row_stride + column);
  }
  int64_t whole() const { return columns; }
};

HWY_ATTR void transpose_block(const TransposeArgs& args) {
  with_elements(args.dtype, args.from, [&](const auto* from) HWY_ATTR {
    transpose_words(Widened{from, args.from_stride, args.columns}, args.rows, args.columns, args.to,
                    args.to_stride);
  });
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(transpose_block);
}
void transpose(const TransposeArgs& args) { HWY_DYNAMIC_DISPATCH(transpose_block)(args); }
}  // namespace qround::ops::cpu
#endif
