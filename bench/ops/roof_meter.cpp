#include "bench/ops/roof_meter.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

// Present in OpenBLAS alone.
extern "C" [[gnu::weak]] void openblas_set_num_threads(int count);

namespace qround::ops {
namespace {

template <class Work>
double best_seconds(int repeats, const Work& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return best;
}

double read_roof(Threads threads) {
  constexpr size_t kBytes = size_t{256} << 20, kBlock = size_t{1} << 20;
  static const std::vector<uint64_t> memory(kBytes / 8, 1);
  const double seconds = best_seconds(3, [&] {
    parallel_for(threads, kBytes / kBlock, [&](size_t block, int) {
      const uint64_t* from = memory.data() + block * (kBlock / 8);
      uint64_t sums[8] = {};  // independent, so that the loop is bound by memory
      for (size_t i = 0; i < kBlock / 8; i += 8)
        for (size_t lane = 0; lane < 8; ++lane) sums[lane] ^= from[i + lane];
      for (uint64_t& sum : sums) benchmark::DoNotOptimize(sum);
    });
  });
  return static_cast<double>(kBytes) / seconds;
}

double sgemm_roof(Threads threads) {
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  constexpr int kSize = 1024;
  static const std::vector<float> a(kSize * kSize, 0.5f);
  static std::vector<float> c(kSize * kSize);
  const double seconds = best_seconds(3, [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1, a.data(), kSize,
                a.data(), kSize, 0, c.data(), kSize);
  });
  return 2.0 * kSize * kSize * kSize / seconds * threads.count;
}

}  // namespace

RoofMeter::RoofMeter(Threads threads)
    : read_bytes_per_s_(read_roof(threads)), sgemm_flops_per_s_(sgemm_roof(threads)) {}

void RoofMeter::report(benchmark::State& state, double bytes_per_iteration,
                       double flops_per_iteration) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double per_second = static_cast<double>(state.iterations()) / elapsed.count();
  const double bytes = bytes_per_iteration * per_second, flops = flops_per_iteration * per_second;
  state.counters["byte/s"] = bytes;
  state.counters["%read"] = 100 * bytes / read_bytes_per_s_;
  if (flops == 0) return;
  state.counters["flop/s"] = flops;
  state.counters["%sgemm"] = 100 * flops / sgemm_flops_per_s_;
}

}  // namespace qround::ops
