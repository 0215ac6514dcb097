// Codes of 4 bits, two to a byte, as a tuner keeps its best parameter set (the low nibble first),
// and the weights they stand for.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/workspace.h"

namespace qround::ops {

// packed[i] = codes[2i] | codes[2i + 1] << 4 for `count` codes of 0..15; count is even.
using PackCodesFunction = void(const uint8_t* codes, int64_t count, uint8_t* packed,
                               const OpContext& context);

// values[i] = f16(scales[i / G]) * (code(i) - 8).
struct RoundedValuesArgs {
  const uint8_t* packed = nullptr;   // [count / 2]
  const uint16_t* scales = nullptr;  // [count / G] f16 bits
  DType dtype = DType::f32;          // of values: F32, or BF16 (rounded)
  void* values = nullptr;            // [count]
  int64_t count = 0, group_size = 128;
};
using RoundedValuesFunction = void(const RoundedValuesArgs& args, const OpContext& context);

namespace ref {
PackCodesFunction pack_codes;
RoundedValuesFunction rounded_values;
}  // namespace ref

namespace cpu {
PackCodesFunction pack_codes;
RoundedValuesFunction rounded_values;
}  // namespace cpu

namespace cuda {
PackCodesFunction pack_codes;
RoundedValuesFunction rounded_values;
}  // namespace cuda

}  // namespace qround::ops
