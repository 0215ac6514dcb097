// The roof under decoding: how fast this machine reads memory right now, or a device its own.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "ops/memory.h"

namespace qround {

class ReadSpeed {
 public:
  ReadSpeed(Threads threads, const ops::Memory& memory);

  // Bytes per second of a plain read of 256 MiB, far more than the caches hold, by all threads: the
  // best of three. On a device: bytes read and written by a copy of 256 MiB. Shared machines change
  // by the minute, so measure beside what is compared.
  double measure() const;

 private:
  double read_once() const;
  double copy_once() const;

  Threads threads_;
  const ops::Memory& memory_;
  std::vector<uint64_t> host_data_;                    // what is read
  mutable ops::Buffer<std::byte> device_data_, copy_;  // what is copied, and where to
};

}  // namespace qround
