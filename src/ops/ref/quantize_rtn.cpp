#include "ops/quantize_rtn.h"

#include <cmath>

#include "ops/full_range_int4.h"
#include "ops/ref/weight_value.h"

namespace qround::ops::ref {

RtnSums quantize_rtn(const DenseWeight& weight, const RtnRows& rows) {
  RtnSums sums;
  uint8_t* codes = rows.codes;
  uint16_t* scales = rows.scales;
  for (int64_t n = rows.begin; n < rows.end; ++n) {
    for (int64_t first = 0; first < weight.k; first += rows.group_size) {
      GroupRange range;
      for (int64_t k = first; k < first + rows.group_size; ++k) {
        const float w = weight_value(weight, n, k);
        if (!std::isfinite(w)) sums.representable = false;
        range.low = std::min(range.low, w);
        range.high = std::max(range.high, w);
      }
      *scales = full_range_scale(range);
      const float scale = f16_to_f32(*scales++);
      if (!std::isfinite(scale)) sums.representable = false;
      if (!sums.representable) return sums;
      for (int64_t k = first; k < first + rows.group_size; ++k) {
        const float w = weight_value(weight, n, k);
        const int code = full_range_code(w, scale);
        const float error = w - scale * static_cast<float>(code);
        sums.weights_squared += double{w} * double{w};
        sums.errors_squared += double{error} * double{error};
        *codes++ = static_cast<uint8_t>(code - kLowestCode);
      }
    }
  }
  return sums;
}

}  // namespace qround::ops::ref
