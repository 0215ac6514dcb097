// Streams and events that end with their owner.
#pragma once

#include <cuda_runtime.h>

#include "ops/workspace.h"

namespace qround::ops {

// What work on a device is enqueued on; above ops/cuda only its address is known.
struct Stream {
  cudaStream_t handle = nullptr;
};

}  // namespace qround::ops

namespace qround::ops::cuda {

inline cudaStream_t handle(const Stream* stream) {
  return stream == nullptr ? nullptr : stream->handle;
}

class OwnedStream {
 public:
  OwnedStream();
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  Stream* get() { return &stream_; }

 private:
  Stream stream_;
};

// A point in a stream that another one can wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream* stream);
  void wait_in(const Stream* stream) const;  // that stream goes on after the recorded point
  void wait() const;                         // the calling thread does

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace qround::ops::cuda
