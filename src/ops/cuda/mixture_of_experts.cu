// Routing and grouping. The products of the experts are in files of their own. A few choices, as
// decode has them, are grouped by one block in shared memory: in a pass of hundreds of short
// kernels each launch and each walk through global memory counts.
#include <cmath>
#include <string>

#include "base/error.h"
#include "ops/cuda/block_scan.h"
#include "ops/mixture_of_experts.h"

namespace qround::ops::cuda {
namespace {

constexpr int kGroupThreads = 256;
constexpr int kGroupWarps = kGroupThreads / kWarpLanes;
constexpr int kMostSharedExperts = 2048;

// One block per expert counts its choices.
__global__ void count_choices(const int32_t* experts, int64_t n_choices, int64_t* begin,
                              int64_t* totals) {
  const int expert = static_cast<int>(blockIdx.x);
  int count = 0;
  for (int64_t choice = threadIdx.x; choice < n_choices; choice += kGroupThreads)
    count += experts[choice] == expert ? 1 : 0;
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2)
    count += __shfl_xor_sync(kAllLanes, count, distance);
  __shared__ int counts[kGroupWarps];
  if (threadIdx.x % kWarpLanes == 0) counts[threadIdx.x / kWarpLanes] = count;
  __syncthreads();
  if (threadIdx.x != 0) return;
  int64_t total = 0;
  for (const int part : counts) total += part;
  begin[expert + 1] = total;
  if (totals != nullptr) totals[expert] += total;
}

// Counts become first rows, of which each thread makes some.
__global__ void add_up(int64_t* begin, int n_experts) {
  __shared__ int counts[kMostSharedExperts];
  for (int expert = static_cast<int>(threadIdx.x); expert < n_experts; expert += kGroupThreads)
    counts[expert] = static_cast<int>(begin[expert + 1]);
  __syncthreads();
  for_each_sum_before<kGroupThreads>(
      n_experts, [&](int expert) { return counts[expert]; },
      [&](int expert, int before) { begin[expert] = before; });
}

// At most a choice for each thread.
__global__ void group_few(GroupByExpertArgs args) {
  __shared__ int counts[kMostSharedExperts];
  __shared__ int experts[kGroupThreads];
  const int thread = static_cast<int>(threadIdx.x);
  const int n_experts = static_cast<int>(args.n_experts);
  const int n_choices = static_cast<int>(args.tokens * args.n_chosen);
  for (int expert = thread; expert < n_experts; expert += kGroupThreads) counts[expert] = 0;
  if (thread < n_choices) experts[thread] = args.experts[thread];
  __syncthreads();
  if (thread < n_choices) atomicAdd(&counts[experts[thread]], 1);
  __syncthreads();
  for_each_sum_before<kGroupThreads>(
      n_experts, [&](int expert) { return counts[expert]; },
      [&](int expert, int before) {
        args.groups.begin[expert] = before;
        if (expert == n_experts) return;
        if (args.totals != nullptr) args.totals[expert] += counts[expert];
      });
  if (thread >= n_choices) return;
  int before = 0;
  for (int other = 0; other < n_choices; ++other) {
    const int expert = experts[other];
    before += expert < experts[thread] || (expert == experts[thread] && other < thread) ? 1 : 0;
  }
  args.groups.choices[before] = thread;
}

// One block per expert writes its choices in order: each round takes one choice per thread, and a
// thread's place is the number of hits among the threads before it.
__global__ void write_choices(const int32_t* experts, int64_t n_choices, ExpertGroups groups) {
  __shared__ int hits[kGroupWarps];
  const int expert = static_cast<int>(blockIdx.x);
  const unsigned warp = threadIdx.x / kWarpLanes, lane = threadIdx.x % kWarpLanes;
  int64_t row = groups.begin[expert];
  for (int64_t first = 0; first < n_choices; first += kGroupThreads) {
    const int64_t choice = first + threadIdx.x;
    const bool hit = choice < n_choices && experts[choice] == expert;
    const unsigned ballot = __ballot_sync(kAllLanes, hit ? 1 : 0);
    if (lane == 0) hits[warp] = __popc(ballot);
    __syncthreads();
    int before = __popc(ballot & ((1u << lane) - 1)), all = 0;
    for (unsigned other = 0; other < kGroupWarps; ++other) {
      if (other < warp) before += hits[other];
      all += hits[other];
    }
    if (hit) groups.choices[row + before] = static_cast<int32_t>(choice);
    row += all;
    __syncthreads();
  }
}

// A warp per token. The n-th choice is the largest logit that comes after the one before: smaller,
// or equal with a higher index.
__global__ void route_rows(RouteArgs args) {
  const int64_t t = int64_t{blockIdx.x} * (kGroupThreads / kWarpLanes) + threadIdx.x / kWarpLanes;
  if (t >= args.tokens) return;
  const int lane = static_cast<int>(threadIdx.x % kWarpLanes);
  const float* logits = args.logits + t * args.n_experts;
  int32_t* experts = args.experts + t * args.n_chosen;
  float* weights = args.weights + t * args.n_chosen;
  float last = INFINITY, largest = 0, total = 0;
  int last_idx = -1;
  for (int64_t slot = 0; slot < args.n_chosen; ++slot) {
    float best = -INFINITY;
    int best_idx = -1;
    for (int expert = lane; expert < args.n_experts; expert += kWarpLanes) {
      const float logit = std::isnan(logits[expert]) ? -INFINITY : logits[expert];
      const bool comes_after = logit < last || (logit == last && expert > last_idx);
      if (comes_after && (best_idx < 0 || logit > best)) {
        best = logit;
        best_idx = expert;
      }
    }
    for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, best, distance);
      const int other_idx = __shfl_xor_sync(kAllLanes, best_idx, distance);
      const bool better = best_idx < 0 || other > best || (other == best && other_idx < best_idx);
      if (other_idx >= 0 && better) {
        best = other;
        best_idx = other_idx;
      }
    }
    last = best;
    last_idx = best_idx;
    if (slot == 0) largest = best;
    const float weight = expf(best - largest);
    total += weight;
    if (lane == 0) {
      experts[slot] = best_idx;
      weights[slot] = weight;
    }
  }
  if (lane == 0)
    for (int64_t slot = 0; slot < args.n_chosen; ++slot) weights[slot] /= total;
}

// A warp per token: zeros everywhere, then the chosen ones.
__global__ void route_rows_backward(RouteBackwardArgs args) {
  const int64_t t = int64_t{blockIdx.x} * (kGroupThreads / kWarpLanes) + threadIdx.x / kWarpLanes;
  if (t >= args.tokens) return;
  const int lane = static_cast<int>(threadIdx.x % kWarpLanes);
  const float* weights = args.weights + t * args.n_chosen;
  const float* d_weights = args.d_weights + t * args.n_chosen;
  float* d_logits = args.d_logits + t * args.n_experts;
  for (int64_t expert = lane; expert < args.n_experts; expert += kWarpLanes) d_logits[expert] = 0;
  __syncwarp();
  float mean = 0;
  for (int64_t slot = 0; slot < args.n_chosen; ++slot) mean += weights[slot] * d_weights[slot];
  for (int64_t slot = lane; slot < args.n_chosen; slot += kWarpLanes)
    d_logits[args.experts[t * args.n_chosen + slot]] = weights[slot] * (d_weights[slot] - mean);
}

dim3 warp_per_row(int64_t rows) {
  constexpr int64_t kRows = kGroupThreads / kWarpLanes;
  return dim3(static_cast<unsigned>((rows + kRows - 1) / kRows));
}

}  // namespace

void route(const RouteArgs& args, const OpContext& context) {
  launch(route_rows, warp_per_row(args.tokens), kGroupThreads, 0, context.stream, args);
}

void route_backward(const RouteBackwardArgs& args, const OpContext& context) {
  launch(route_rows_backward, warp_per_row(args.tokens), kGroupThreads, 0, context.stream, args);
}

void group_by_expert(const GroupByExpertArgs& args, const OpContext& context) {
  const int64_t n_choices = args.tokens * args.n_chosen;
  if (args.n_experts > kMostSharedExperts)
    throw Error("the cuda backend groups by at most " + std::to_string(kMostSharedExperts) +
                " experts")
        .actual(std::to_string(args.n_experts));
  if (n_choices <= kGroupThreads)
    return launch(group_few, 1, kGroupThreads, 0, context.stream, args);
  const auto experts = static_cast<unsigned>(args.n_experts);
  launch(count_choices, experts, kGroupThreads, 0, context.stream, args.experts, n_choices,
         args.groups.begin, args.totals);
  launch(add_up, 1, kGroupThreads, 0, context.stream, args.groups.begin,
         static_cast<int>(args.n_experts));
  launch(write_choices, experts, kGroupThreads, 0, context.stream, args.experts, n_choices,
         args.groups);
}

}  // namespace qround::ops::cuda
