// The roof under decoding: how fast this machine reads memory right now.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"

namespace qround {

class ReadSpeed {
 public:
  explicit ReadSpeed(Threads threads);

  // Bytes per second of a plain read of 256 MiB, far more than the caches hold, by all threads: the
  // best of three. Shared machines change by the minute, so measure beside what is compared.
  double measure() const;

 private:
  Threads threads_;
  std::vector<uint64_t> memory_;
};

}  // namespace qround
