// Sums of several rows side by side, for work that goes through the inputs of many rows at once.
#pragma once

#include <cstdint>

namespace qround::ops {

// Enough for the sums of several vector registers to be under way at once.
inline constexpr int64_t kSumLanes = 64;

// sums[lane] += factors[j] * values[j][lane] for j = 0 .. count - 1 in that order, each product
// rounded before it is added: the same bits on every processor. values [count, kSumLanes].
using AddLaneProductsFunction = void(const float* factors, const float* values, int64_t count,
                                     float* sums);

namespace ref {
AddLaneProductsFunction add_lane_products;
}

namespace cpu {
AddLaneProductsFunction add_lane_products;
}

}  // namespace qround::ops
