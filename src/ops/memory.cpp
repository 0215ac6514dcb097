#include "ops/memory.h"

#include <cstring>
#include <new>
#include <string>

#include "base/error.h"

namespace qround::ops {
namespace {

constexpr std::align_val_t kAlignment{64};

void* allocate(size_t bytes) { return ::operator new(bytes, kAlignment); }

void release(void* data) noexcept { ::operator delete(data, kAlignment); }

void copy(void* to, const void* from, size_t bytes, Stream*) { std::memmove(to, from, bytes); }

void fill_zero(void* to, size_t bytes, Stream*) { std::memset(to, 0, bytes); }

}  // namespace

constexpr Memory kHostMemory = {.is_host = true,
                                .allocate = allocate,
                                .release = release,
                                .upload = copy,
                                .download = copy,
                                .copy = copy,
                                .fill_zero = fill_zero,
                                .synchronize = [](Stream*) {}};

void MemoryMeter::take(uint64_t bytes) {
  bytes = (bytes + kPieceBytes - 1) / kPieceBytes * kPieceBytes;
  const uint64_t used = used_ += bytes;
  if (used > limit_) {
    used_ -= bytes;
    throw Error("more of the device's memory is needed than planned", ErrorKind::resource)
        .expected("at most " + std::to_string(limit_) + " bytes")
        .actual(std::to_string(used) + " bytes");
  }
  for (uint64_t peak = peak_; peak < used && !peak_.compare_exchange_weak(peak, used);) {
  }
}

void MemoryMeter::give_back(uint64_t bytes) noexcept {
  used_ -= (bytes + kPieceBytes - 1) / kPieceBytes * kPieceBytes;
}

void* take(const Memory& memory, size_t bytes) {
  if (memory.meter == nullptr) return memory.allocate(bytes);
  memory.meter->take(bytes);
  try {
    return memory.allocate(bytes);
  } catch (...) {
    memory.meter->give_back(bytes);
    throw;
  }
}

void give_back(const Memory& memory, void* data, size_t bytes) noexcept {
  memory.release(data);
  if (memory.meter != nullptr) memory.meter->give_back(bytes);
}

}  // namespace qround::ops
