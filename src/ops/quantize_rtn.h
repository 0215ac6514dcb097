// Round-to-nearest of a dense weight W [N, K] to the codes and scales of full_range_int4.h, groups
// of G inputs along each row. Memory-bound: one pass, the group stays in registers or L1.
#pragma once

#include <cstdint>

#include "ops/weight.h"

namespace qround::ops {

struct RtnRows {
  int64_t begin = 0, end = 0;  // rows of W
  int64_t group_size = 128;    // G: 32, 64 or 128; divides K
  uint8_t* codes = nullptr;    // [end - begin, K], 0..15
  uint16_t* scales = nullptr;  // [end - begin, K / G] f16 bits
};

// Sums over the rows, w - s * q in f32. Their last digits depend on the width of the vectors.
struct RtnSums {
  double weights_squared = 0;
  double errors_squared = 0;
  // Whether every weight is finite and every scale fits f16. If not, outputs and sums are
  // unspecified.
  bool representable = true;
};

using QuantizeRtnFunction = RtnSums(const DenseWeight& weight, const RtnRows& rows);

namespace ref {
QuantizeRtnFunction quantize_rtn;
}  // namespace ref

namespace cpu {
QuantizeRtnFunction quantize_rtn;
}  // namespace cpu

namespace cuda {
QuantizeRtnFunction quantize_rtn;  // waits for its result
}  // namespace cuda

}  // namespace qround::ops
