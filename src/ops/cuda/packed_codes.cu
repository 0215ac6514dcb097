#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/cuda/elements.h"
#include "ops/full_range_int4.h"
#include "ops/packed_codes.h"

namespace qround::ops::cuda {
namespace {

__global__ void value_pairs(RoundedValuesArgs args) {
  const int64_t pair = element_index();
  if (pair >= args.count / 2) return;
  const float scale = __half2float(__ushort_as_half(args.scales[2 * pair / args.group_size]));
  for (int which = 0; which < 2; ++which) {
    const int code = (args.packed[pair] >> (4 * which) & 15) + kLowestCode;
    const float value = scale * static_cast<float>(code);
    const int64_t i = 2 * pair + which;
    if (args.dtype == DType::bf16) {
      static_cast<uint16_t*>(args.values)[i] = __bfloat16_as_ushort(__float2bfloat16_rn(value));
    } else {
      static_cast<float*>(args.values)[i] = value;
    }
  }
}

}  // namespace

void rounded_values(const RoundedValuesArgs& args, const OpContext& context) {
  launch_elements(value_pairs, args.count / 2, context.stream, args);
}

}  // namespace qround::ops::cuda
