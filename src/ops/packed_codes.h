// Codes of 4 bits, two to a byte, as a tuner keeps its best parameter set (the low nibble first),
// and the weights they stand for.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/workspace.h"

namespace qround::ops {

// values[i] = f16(scales[i / G]) * (code(i) - 8), code(2i) | code(2i + 1) << 4 = packed[i].
struct RoundedValuesArgs {
  const uint8_t* packed = nullptr;   // [count / 2]
  const uint16_t* scales = nullptr;  // [count / G] f16 bits
  DType dtype = DType::f32;          // of values: F32, or BF16 (rounded)
  void* values = nullptr;            // [count]
  int64_t count = 0, group_size = 128;
};
using RoundedValuesFunction = void(const RoundedValuesArgs& args, const OpContext& context);

namespace ref {
RoundedValuesFunction rounded_values;
}  // namespace ref

namespace cpu {
RoundedValuesFunction rounded_values;
}  // namespace cpu

namespace cuda {
RoundedValuesFunction rounded_values;
}  // namespace cuda

}  // namespace qround::ops
