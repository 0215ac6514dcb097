// How products by dot products are cut into register tiles. Included once per vector target.
#if defined(QROUND_OPS_CPU_DOT_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_DOT_TILES_INL_H_
#undef QROUND_OPS_CPU_DOT_TILES_INL_H_
#else
#define QROUND_OPS_CPU_DOT_TILES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "ops/cpu/f32_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {

// Rows of W that are read side by side, times rows of x.
constexpr int64_t kDotTileOutputs = 4;
constexpr int64_t kDotTileRows = kManyRegisters ? 4 : 2;

// All rows [row, end) against kOutputs rows of W, which stay in the first-level cache meanwhile.
template <class Kernel, int64_t kOutputs, class Args>
HWY_ATTR void dot_outputs(const Args& args, int64_t row, int64_t end, int64_t output) {
  for (; row + kDotTileRows <= end; row += kDotTileRows)
    Kernel::template tile<kDotTileRows, kOutputs>(args, row, output);
  switch (end - row) {
    case 1:
      return Kernel::template tile<1, kOutputs>(args, row, output);
    case 2:
      return Kernel::template tile<2, kOutputs>(args, row, output);
    case 3:
      return Kernel::template tile<3, kOutputs>(args, row, output);
  }
}

// Kernel::tile<rows, outputs>(args, row, output) for tiles of rows [row, end) and outputs
// [output, end_output).
template <class Kernel, class Args>
HWY_ATTR void for_each_dot_tile(const Args& args, int64_t row, int64_t end, int64_t output,
                                int64_t end_output) {
  for (; output + kDotTileOutputs <= end_output; output += kDotTileOutputs)
    dot_outputs<Kernel, kDotTileOutputs>(args, row, end, output);
  for (; output < end_output; ++output) dot_outputs<Kernel, 1>(args, row, end, output);
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
