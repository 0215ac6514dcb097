// A benchmark's speed beside the machine's roofs, which are measured right before each benchmark:
// shared machines change by the minute.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

#include "base/threads.h"

namespace qround::ops {

class RoofMeter {
 public:
  // Measures a plain read of memory far larger than the caches, and a large single-threaded sgemm
  // times the threads.
  explicit RoofMeter(Threads threads);

  // Right before and after the benchmark's loop.
  void start() { start_ = std::chrono::steady_clock::now(); }
  // Adds bytes/s and flop/s to the benchmark's line, and their percentage of the roofs. Nothing is
  // said about arithmetic when `flops` is 0.
  void report(benchmark::State& state, double bytes_per_iteration, double flops_per_iteration);

 private:
  double read_bytes_per_s_, sgemm_flops_per_s_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace qround::ops
