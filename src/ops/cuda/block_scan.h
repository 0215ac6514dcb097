// Running sums over the entries of a table by one block.
#pragma once

#include "ops/cuda/reduce.h"

namespace qround::ops::cuda {

// use(i, sum of the values before i) for i in [0, count], the last being the whole sum; value(i)
// for i in [0, count). Blocks of kThreads threads, one-dimensional; contains barriers. A thread
// takes neighbours, so that the lanes' and the warps' sums are few.
template <int kThreads, class Value, class Use>
__device__ void for_each_sum_before(int count, const Value& value, const Use& use) {
  constexpr int kWarps = kThreads / kWarpLanes;
  __shared__ int sums[kWarps];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpLanes;
  const int each = (count + kThreads - 1) / kThreads;
  const int first = min(count, thread * each), last = min(count, first + each);
  int own = 0;
  for (int i = first; i < last; ++i) own += value(i);
  int through = own;  // of the warp, this lane's included
  for (int distance = 1; distance < kWarpLanes; distance *= 2) {
    const int other = __shfl_up_sync(kAllLanes, through, static_cast<unsigned>(distance));
    if (lane >= distance) through += other;
  }
  if (lane == kWarpLanes - 1) sums[thread / kWarpLanes] = through;
  __syncthreads();
  int before = through - own;
  for (int warp = 0; warp < thread / kWarpLanes; ++warp) before += sums[warp];
  for (int i = first; i < last; ++i) {
    use(i, before);
    before += value(i);
  }
  if (thread == kThreads - 1) use(count, before);
  __syncthreads();  // before the next sums are written
}

}  // namespace qround::ops::cuda
