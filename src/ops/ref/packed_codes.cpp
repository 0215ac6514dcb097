#include "ops/packed_codes.h"

#include "base/half.h"
#include "ops/full_range_int4.h"

namespace qround::ops::ref {

void rounded_values(const RoundedValuesArgs& args, const OpContext&) {
  for (int64_t i = 0; i < args.count; ++i) {
    const int code = (args.packed[i / 2] >> (i % 2 * 4) & 15) + kLowestCode;
    const float value = f16_to_f32(args.scales[i / args.group_size]) * static_cast<float>(code);
    if (args.dtype == DType::bf16) {
      static_cast<uint16_t*>(args.values)[i] = f32_to_bf16(value);
    } else {
      static_cast<float*>(args.values)[i] = value;
    }
  }
}

}  // namespace qround::ops::ref
