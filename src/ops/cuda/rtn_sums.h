// The sums that rounding to nearest reports, made by a kernel for each group and added up by the
// host in their order; so the call waits.
#pragma once

#include "ops/cuda/memory.h"
#include "ops/cuda/reduce.h"
#include "ops/quantize_rtn.h"

namespace qround::ops::cuda {

struct GroupSums {
  double weights_squared, errors_squared;
  int representable;
};

// The sums over a warp's weights of one group; lane 0 writes them.
__device__ inline void store_sums(double weights_squared, double errors_squared, bool representable,
                                  GroupSums& to) {
  weights_squared = warp_sum(weights_squared);
  errors_squared = warp_sum(errors_squared);
  const bool all = __all_sync(kAllLanes, representable ? 1 : 0) != 0;
  if (threadIdx.x % kWarpLanes == 0) to = {weights_squared, errors_squared, all ? 1 : 0};
}

inline RtnSums add_up(const Buffer<GroupSums>& of_groups) {
  RtnSums sums;
  for (const GroupSums& group : of_groups.to_vector()) {
    sums.weights_squared += group.weights_squared;
    sums.errors_squared += group.errors_squared;
    sums.representable = sums.representable && group.representable != 0;
  }
  return sums;
}

}  // namespace qround::ops::cuda
