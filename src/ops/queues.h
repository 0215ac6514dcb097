// Work on a device beside other work: streams, points in them that others wait for, and host memory
// from which copies need not wait. Only backends with memory of their own have these.
#pragma once

#include <cstddef>
#include <span>

#include "ops/memory.h"

namespace qround::ops {

// A point in a stream.
struct Event;

struct QueueFunctions {
  Stream* (*make_stream)();  // work in it waits for nothing but what it is told to
  void (*release_stream)(Stream* stream) noexcept;
  Event* (*make_event)();
  void (*release_event)(Event* event) noexcept;
  void (*record)(Event* event, Stream* stream);
  void (*wait)(Event* event, Stream* stream);  // that stream goes on after the recorded point;
                                               // at once where nothing was recorded
  void (*wait_on_host)(Event* event);          // the calling thread does
  void* (*allocate_pinned)(size_t bytes);      // uninitialized
  void (*release_pinned)(void* data) noexcept;
};

class OwnedStream {
 public:
  explicit OwnedStream(const Memory& memory)
      : queues_(*memory.queues), stream_(queues_.make_stream()) {}
  ~OwnedStream() { queues_.release_stream(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;

  Stream* get() const { return stream_; }

 private:
  const QueueFunctions& queues_;
  Stream* stream_;
};

class OwnedEvent {
 public:
  explicit OwnedEvent(const Memory& memory)
      : queues_(*memory.queues), event_(queues_.make_event()) {}
  ~OwnedEvent() { queues_.release_event(event_); }
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;

  void record(Stream* stream) { queues_.record(event_, stream); }
  void wait_in(Stream* stream) { queues_.wait(event_, stream); }
  void wait() { queues_.wait_on_host(event_); }

 private:
  const QueueFunctions& queues_;
  Event* event_;
};

// Floats in pinned host memory.
class PinnedFloats {
 public:
  PinnedFloats(const Memory& memory, size_t count)
      : queues_(*memory.queues),
        values_(static_cast<float*>(queues_.allocate_pinned(count * sizeof(float))), count) {}
  ~PinnedFloats() { queues_.release_pinned(values_.data()); }
  PinnedFloats(const PinnedFloats&) = delete;
  PinnedFloats& operator=(const PinnedFloats&) = delete;

  std::span<float> values() const { return values_; }

 private:
  const QueueFunctions& queues_;
  std::span<float> values_;
};

}  // namespace qround::ops
