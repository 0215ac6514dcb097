// What the lanes of an emulated warp do together.
#include "cuda_runtime.h"

namespace {

using qround::cuda_emulation::kWarp;
using qround::cuda_emulation::warp_collective;

struct Vote {
  unsigned value;
  unsigned result;
};

Vote& vote(void* operands) { return *static_cast<Vote*>(operands); }

struct Shuffle {
  uint64_t bits;
  int source;
  uint64_t result;
};

}  // namespace

void __syncwarp(unsigned mask) { warp_collective(mask, nullptr, nullptr); }

unsigned __ballot_sync(unsigned mask, int predicate) {
  Vote mine{predicate != 0 ? 1u : 0u, 0};
  warp_collective(mask, &mine, [](void* const(&lanes)[kWarp], uint32_t) {
    unsigned ballot = 0;
    for (int i = 0; i < kWarp; ++i)
      if (lanes[i] != nullptr) ballot |= vote(lanes[i]).value << i;
    for (void* lane : lanes)
      if (lane != nullptr) vote(lane).result = ballot;
  });
  return mine.result;
}

unsigned __match_any_sync(unsigned mask, unsigned value) {
  Vote mine{value, 0};
  warp_collective(mask, &mine, [](void* const(&lanes)[kWarp], uint32_t) {
    for (void* lane : lanes)
      for (int i = 0; lane != nullptr && i < kWarp; ++i)
        if (lanes[i] != nullptr && vote(lanes[i]).value == vote(lane).value)
          vote(lane).result |= 1u << i;
  });
  return mine.result;
}

namespace qround::cuda_emulation {

uint64_t shuffle(unsigned mask, uint64_t bits, int source) {
  Shuffle mine{bits, source, bits};
  warp_collective(mask, &mine, [](void* const(&lanes)[kWarp], uint32_t) {
    for (void* lane : lanes) {
      if (lane == nullptr) continue;
      auto& to = *static_cast<Shuffle*>(lane);
      if (lanes[to.source] != nullptr) to.result = static_cast<Shuffle*>(lanes[to.source])->bits;
    }
  });
  return mine.result;
}

}  // namespace qround::cuda_emulation
