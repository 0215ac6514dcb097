#include "cli/read_speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace qround {
namespace {
constexpr size_t kBytes = size_t{256} << 20, kBlock = size_t{1} << 20;
}

ReadSpeed::ReadSpeed(Threads threads) : threads_(threads), memory_(kBytes / 8, 1) {}

double ReadSpeed::measure() const {
  std::atomic<uint64_t> kept = 0;  // so that no compiler leaves the reads out
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(threads_, kBytes / kBlock, [&](size_t block, int) {
      const uint64_t* from = memory_.data() + block * (kBlock / 8);
      uint64_t sums[8] = {};  // independent, so that the loop is bound by memory
      for (size_t i = 0; i < kBlock / 8; i += 8)
        for (size_t lane = 0; lane < 8; ++lane) sums[lane] ^= from[i + lane];
      for (const uint64_t sum : sums) kept.fetch_xor(sum, std::memory_order_relaxed);
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / elapsed.count());
  }
  return best;
}

}  // namespace qround
