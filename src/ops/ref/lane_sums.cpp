#include "ops/lane_sums.h"

namespace qround::ops::ref {

void add_lane_products(const float* factors, const float* values, int64_t count, float* sums) {
  for (int64_t j = 0; j < count; ++j)
    for (int64_t lane = 0; lane < kSumLanes; ++lane)
      sums[lane] += factors[j] * values[j * kSumLanes + lane];
}

}  // namespace qround::ops::ref
