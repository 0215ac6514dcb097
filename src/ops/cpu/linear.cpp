#include "ops/linear.h"

#include <algorithm>

#include "ops/cpu/int4_groups.h"
#include "ops/cpu/int8_inputs.h"
#include "ops/cpu/linear_int8.h"
#include "ops/cpu/linear_share.h"
#include "ops/cpu/row_inputs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void widen(const DenseWeight& weight, int64_t begin, int64_t end, float* out) {
  const int64_t count = (end - begin) * weight.k;
  with_elements(weight.dtype, weight.data, [&](const auto* data) HWY_ATTR {
    data += begin * weight.k;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(load_f32(F32(), data + i), F32(), out + i);
    for (; i < count; ++i) out[i] = value_f32(data[i]);
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(widen);

// Rows of x in one share: short enough that narrow maps of long inputs occupy several threads.
constexpr int64_t kShareRows = 256;

}  // namespace

void dequantize_rows(const Weight& weight, int64_t begin, int64_t end, float* out) {
  if (const auto* dense = std::get_if<DenseWeight>(&weight))
    HWY_DYNAMIC_DISPATCH(widen)(*dense, begin, end, out);
  else
    ref::dequantize_rows(weight, begin, end, out);
}

void linear(const Weight& weight, const float* x, int64_t rows, float* y,
            const OpContext& context) {
  const Weight plain = without_trivial_g_idx(weight);
  if (const auto* int4 = std::get_if<Int4Weight>(&plain);
      context.activations == Activations::int8 && int4 != nullptr && takes_int8_inputs(*int4))
    return linear_int8(*int4, x, rows, y, context);
  if (const auto* int8 = std::get_if<Int8Weight>(&plain)) {
    if (context.activations == Activations::int8) return linear_int8(*int8, x, rows, y, context);
    return ref::linear(weight, x, rows, y, context);  // such copies are made for int8 inputs
  }
  const int64_t n_outputs = outputs(weight), n_inputs = inputs(weight);
  const int64_t width = share_width(n_outputs);
  const int64_t columns = (n_outputs + width - 1) / width;
  const int64_t row_blocks = (rows + kShareRows - 1) / kShareRows;
  Workspace::Scope scope(context.workspace);
  const auto scratch =
      scope.take<float>(kShareScratchFloats * static_cast<size_t>(context.threads.count));
  const RowInputs x_rows(scope, x, rows, n_inputs, context, plain);
  parallel_for(context.threads, static_cast<size_t>(columns * row_blocks),
               [&](size_t index, int worker) {
                 const int64_t column = static_cast<int64_t>(index) / row_blocks * width;
                 const int64_t row = static_cast<int64_t>(index) % row_blocks * kShareRows;
                 linear_share({.weight = &plain,
                               .x = x_rows.row(row),
                               .x_pairs = x_rows.pairs_of_row(plain, row),
                               .y = y + row * n_outputs,
                               .rows = std::min(kShareRows, rows - row),
                               .begin = column,
                               .end = std::min(n_outputs, column + width),
                               .y_stride = n_outputs,
                               .many_rows = context.many_rows},
                              scratch.data() + kShareScratchFloats * static_cast<size_t>(worker));
               });
}

}  // namespace qround::ops::cpu
#endif
