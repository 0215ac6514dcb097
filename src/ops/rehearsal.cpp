#include "ops/rehearsal.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "ops/queues.h"

namespace qround::ops {
namespace {

// Addresses nobody else has and nobody may follow, so that a step of the host's into the device's
// memory ends the program here and not only on a device. A page before them tells their number.
constexpr size_t kPageBytes = 64 << 10;

void* allocate(size_t bytes) {
  const size_t total = bytes + kPageBytes;
  void* page = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (page == MAP_FAILED || mprotect(page, kPageBytes, PROT_READ | PROT_WRITE) != 0)
    throw std::bad_alloc();
  std::memcpy(page, &total, sizeof(total));
  return static_cast<std::byte*>(page) + kPageBytes;
}

void release(void* data) noexcept {
  void* page = static_cast<std::byte*>(data) - kPageBytes;
  size_t total = 0;
  std::memcpy(&total, page, sizeof(total));
  munmap(page, total);
}

// Streams and events are never looked at; pinned memory is the host's, which may write to it.
constexpr QueueFunctions kNoQueues = {
    .make_stream = []() -> Stream* { return nullptr; },
    .release_stream = [](Stream*) noexcept {},
    .make_event = []() -> Event* { return nullptr; },
    .release_event = [](Event*) noexcept {},
    .record = [](Event*, Stream*) {},
    .wait = [](Event*, Stream*) {},
    .wait_on_host = [](Event*) {},
    .allocate_pinned = [](size_t bytes) { return ::operator new(bytes); },
    .release_pinned = [](void* data) noexcept { ::operator delete(data); }};

constexpr Memory kNoMemory = {
    .is_host = false,
    .allocate = allocate,
    .release = release,
    .upload = [](void*, const void*, size_t, Stream*) {},
    .download = [](void* host, const void*, size_t bytes, Stream*) { std::memset(host, 0, bytes); },
    .copy = [](void*, const void*, size_t, Stream*) {},
    .fill_zero = [](void*, size_t, Stream*) {},
    .synchronize = [](Stream*) {},
    .free_bytes = [] { return uint64_t{UINT64_MAX}; },
    .queues = &kNoQueues};

// More than any device has: the workspace takes everything from one block.
constexpr size_t kWorkspaceBytes = size_t{1} << 40;

Memory counted_by(MemoryMeter& meter) {
  Memory memory = kNoMemory;
  memory.meter = &meter;
  return memory;
}

}  // namespace

Rehearsal::Rehearsal(const Backend& backend)
    : memory_(counted_by(meter_)),
      uncounted_(kNoMemory),
      table_(*backend.table),
      workspace_(uncounted_),
      stream_(backend.rehearsal) {
  table_.memory = &memory_;
  workspace_.reserve(kWorkspaceBytes);
}

OpContext Rehearsal::context(Threads threads, bool many_rows) {
  return {.threads = threads, .workspace = workspace_, .many_rows = many_rows, .stream = stream_};
}

}  // namespace qround::ops
