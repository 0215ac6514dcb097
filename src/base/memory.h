// How much memory this process and this machine have in use, from /proc.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace qround {

// Resident memory of this process by kind. Pages of mapped files can be dropped at any time and are
// no cost to others; anonymous and shared ones are.
struct ResidentMemory {
  uint64_t anonymous_bytes = 0;
  uint64_t shared_bytes = 0;
  uint64_t file_bytes = 0;

  uint64_t private_bytes() const { return anonymous_bytes + shared_bytes; }
};

// All zero where /proc does not tell.
ResidentMemory resident_memory();

// What could be allocated without swapping, the limits of the control group included; 0: unknown.
uint64_t available_memory_bytes();

// Samples resident_memory() from a thread of its own while it lives.
class PeakMemory {
 public:
  PeakMemory();
  ~PeakMemory() = default;
  PeakMemory(const PeakMemory&) = delete;
  PeakMemory& operator=(const PeakMemory&) = delete;

  // The largest anonymous + shared sum seen so far, a sample taken now included.
  uint64_t peak_bytes();

 private:
  void sample();

  std::atomic<uint64_t> peak_ = 0;
  std::jthread sampler_;  // last: it uses the members above
};

}  // namespace qround
