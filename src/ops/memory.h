// Where a backend's operands lie. Host backends use the process's memory; a device backend has its
// own, which the processor may not read: whatever crosses goes through these functions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qround::ops {

// Work on a device happens in the order it was enqueued in its stream. Null: the backend's own
// stream; host backends know no other.
struct Stream;

// Counts what is taken of a Memory and keeps it within a limit. Any thread.
class MemoryMeter {
 public:
  // Devices hand out memory in pieces of so many bytes.
  static constexpr uint64_t kPieceBytes = 512;

  explicit MemoryMeter(uint64_t limit_bytes = UINT64_MAX) : limit_(limit_bytes) {}

  // Throws Error of kind resource where the limit would be passed; nothing is counted then.
  void take(uint64_t bytes);
  void give_back(uint64_t bytes) noexcept;

  uint64_t used_bytes() const { return used_; }
  uint64_t peak_bytes() const { return peak_; }

 private:
  uint64_t limit_;
  std::atomic<uint64_t> used_ = 0, peak_ = 0;
};

struct QueueFunctions;  // ops/queues.h

// The functions of one kind of memory. Copies and fills are enqueued; on the host they are done on
// return. Pointers to host memory are plain ones.
struct Memory {
  bool is_host = true;  // pointers may be followed by the processor
  // At least 64-byte aligned, uninitialized. Throws std::bad_alloc, or Error of kind resource where
  // a device's memory ran out.
  void* (*allocate)(size_t bytes) = nullptr;
  void (*release)(void* data) noexcept = nullptr;
  // `host` is read before the call returns, unless it is pinned.
  void (*upload)(void* to, const void* host, size_t bytes, Stream* stream) = nullptr;
  // Waits until everything enqueued before is done and the bytes are there.
  void (*download)(void* host, const void* from, size_t bytes, Stream* stream) = nullptr;
  void (*copy)(void* to, const void* from, size_t bytes, Stream* stream) = nullptr;
  void (*fill_zero)(void* to, size_t bytes, Stream* stream) = nullptr;
  void (*synchronize)(Stream* stream) = nullptr;
  uint64_t (*free_bytes)() = nullptr;      // of a device; null on hosts
  const QueueFunctions* queues = nullptr;  // of a device; null on hosts
  MemoryMeter* meter = nullptr;            // counts what Buffers take; null: nobody does
};

// allocate and release, counted.
void* take(const Memory& memory, size_t bytes);
void give_back(const Memory& memory, void* data, size_t bytes) noexcept;

extern const Memory kHostMemory;
inline const Memory& host_memory() { return kHostMemory; }

// An array of plain values in a backend's memory. Moves; an empty one owns nothing.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  // Uninitialized.
  Buffer(const Memory& memory, int64_t count)
      : memory_(&memory),
        data_(count == 0 ? nullptr : static_cast<T*>(take(memory, bytes_of(count)))),
        size_(count) {}
  // A copy of what lies in host memory.
  Buffer(const Memory& memory, std::span<const T> host, Stream* stream = nullptr)
      : Buffer(memory, static_cast<int64_t>(host.size())) {
    upload(host, stream);
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) give_back(*memory_, data_, bytes_of(size_));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void upload(std::span<const T> host, Stream* stream = nullptr) {
    if (!host.empty()) memory_->upload(data_, host.data(), host.size_bytes(), stream);
  }
  void download(std::span<T> host, Stream* stream = nullptr) const {
    if (!host.empty()) memory_->download(host.data(), data_, host.size_bytes(), stream);
  }
  std::vector<T> to_vector(Stream* stream = nullptr) const {
    std::vector<T> values(static_cast<size_t>(size_));
    download(values, stream);
    return values;
  }
  // The same number of elements of the same memory.
  void copy_from(const Buffer& other, Stream* stream = nullptr) {
    if (size_ > 0) memory_->copy(data_, other.data_, bytes_of(size_), stream);
  }
  void fill_zero(Stream* stream = nullptr) {
    if (size_ > 0) memory_->fill_zero(data_, bytes_of(size_), stream);
  }

 private:
  static size_t bytes_of(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  const Memory* memory_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace qround::ops
