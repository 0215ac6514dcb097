// Maps lie one after the other in whole groups, so the kernel takes each as one long row, 128
// neighbours to a warp, and a few blocks walk over all maps: where nothing is to be kept, a launch
// costs next to nothing.
// Tested by tests/ops/kept_rounding_test.cpp.
#include <algorithm>

#include "ops/cuda/launch.h"
#include "ops/cuda/sign_round_lane.h"
#include "ops/kept_rounding.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpLanes;
constexpr int64_t kMostBlocks = 4096;
constexpr int kMostMaps = 512;  // of a launch: their table is a parameter

__global__ void note(NoteLossArgs args) {
  double sum = 0;
  for (int64_t i = 0; i < args.count; ++i) sum += args.losses[i];
  const double loss = sum / static_cast<double>(args.count);
  const bool is_new = loss < args.best->loss;
  args.best->is_new = is_new ? 1 : 0;
  if (!is_new) return;
  args.best->loss = loss;
  args.best->iteration = args.iteration;
}

// Some maps that follow each other.
struct Maps {
  const void* data[kMostMaps];
  uint8_t dtype[kMostMaps];
  int64_t first_part[kMostMaps + 1];  // of 128 weights
  int64_t first_weight[kMostMaps + 1];
  int count = 0;
};

struct KeepArgs {
  SignRoundRule rule;
  SignRoundRows rows;
  uint8_t* packed_codes;
  uint16_t* scales;
  const BestLoss* only_if_new;
};

// The last map that begins at or before `part`.
__device__ int map_of(const Maps& maps, int64_t part) {
  int low = 0, high = maps.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (maps.first_part[middle] <= part) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void keep(Maps maps, KeepArgs args) {
  if (args.only_if_new != nullptr && args.only_if_new->is_new == 0) return;
  const int64_t step = int64_t{gridDim.x} * kWarps;
  for (int64_t part = int64_t{blockIdx.x} * kWarps + warp_idx(); part < maps.first_part[maps.count];
       part += step) {
    const int map = map_of(maps, part);
    const int64_t begin = maps.first_weight[map], count = maps.first_weight[map + 1] - begin;
    const int64_t first_group = begin / args.rows.group_size;
    SignRoundRows rows = args.rows;
    rows.v += begin;
    rows.alpha += first_group;
    rows.beta += first_group;
    const SignRoundLane lane({static_cast<DType>(maps.dtype[map]), maps.data[map], 1, count},
                             args.rule, rows, 0, (part - maps.first_part[map]) * kWeightsPerWarp);
    lane.store_packed(args.packed_codes + begin / 2, args.scales + first_group);
  }
}

}  // namespace

void note_loss(const NoteLossArgs& args, const OpContext& context) {
  launch(note, 1, 1, 0, context.stream, args);
}

void keep_rounding(const KeepRoundingArgs& args, const OpContext& context) {
  const KeepArgs kept{args.rule, args.rows, args.packed_codes, args.scales, args.only_if_new};
  int64_t first_weight = 0;
  for (size_t first = 0; first < args.weights.size(); first += kMostMaps) {
    Maps maps;
    maps.count = static_cast<int>(std::min<size_t>(kMostMaps, args.weights.size() - first));
    maps.first_part[0] = 0;
    maps.first_weight[0] = first_weight;
    for (int map = 0; map < maps.count; ++map) {
      const DenseWeight& weight = args.weights[first + static_cast<size_t>(map)];
      const int64_t count = weight.n * weight.k;
      maps.data[map] = weight.data;
      maps.dtype[map] = static_cast<uint8_t>(weight.dtype);
      maps.first_part[map + 1] =
          maps.first_part[map] + (count + kWeightsPerWarp - 1) / kWeightsPerWarp;
      maps.first_weight[map + 1] = first_weight += count;
    }
    const int64_t blocks = (maps.first_part[maps.count] + kWarps - 1) / kWarps;
    launch(keep, static_cast<unsigned>(std::min(blocks, kMostBlocks)), kThreads, 0, context.stream,
           maps, kept);
  }
}

}  // namespace qround::ops::cuda
