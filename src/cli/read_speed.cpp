#include "cli/read_speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace qround {
namespace {
constexpr size_t kBytes = size_t{256} << 20, kBlock = size_t{1} << 20;
}

ReadSpeed::ReadSpeed(Threads threads, const ops::Memory& memory)
    : threads_(threads), memory_(memory) {
  if (memory.is_host) {
    host_data_.assign(kBytes / 8, 1);
  } else {
    device_data_ = {memory, int64_t{kBytes}};
    copy_ = {memory, int64_t{kBytes}};
    device_data_.fill_zero();
  }
}

double ReadSpeed::measure() const {
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    const double bytes = memory_.is_host ? read_once() : copy_once();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, bytes / elapsed.count());
  }
  return best;
}

double ReadSpeed::copy_once() const {
  constexpr int kCopies = 16;  // so that waiting for them costs little beside
  for (int i = 0; i < kCopies; ++i) copy_.copy_from(device_data_);
  memory_.synchronize(nullptr);
  return 2.0 * kCopies * static_cast<double>(kBytes);
}

double ReadSpeed::read_once() const {
  std::atomic<uint64_t> kept = 0;  // so that no compiler leaves the reads out
  parallel_for(threads_, kBytes / kBlock, [&](size_t block, int) {
    const uint64_t* from = host_data_.data() + block * (kBlock / 8);
    uint64_t sums[8] = {};  // independent, so that the loop is bound by memory
    for (size_t i = 0; i < kBlock / 8; i += 8)
      for (size_t lane = 0; lane < 8; ++lane) sums[lane] ^= from[i + lane];
    for (const uint64_t sum : sums) kept.fetch_xor(sum, std::memory_order_relaxed);
  });
  return static_cast<double>(kBytes);
}

}  // namespace qround
