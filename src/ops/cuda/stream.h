// What the opaque streams and events of ops/queues.h are.
#pragma once

#include <cuda_runtime.h>

#include "ops/queues.h"

namespace qround::ops {

struct Stream {
  cudaStream_t handle = nullptr;
  bool is_rehearsal = false;  // nothing is enqueued
};

struct Event {
  cudaEvent_t handle = nullptr;
};

}  // namespace qround::ops

namespace qround::ops::cuda {

inline cudaStream_t handle(const Stream* stream) {
  return stream == nullptr ? nullptr : stream->handle;
}

inline bool is_rehearsal(const Stream* stream) { return stream != nullptr && stream->is_rehearsal; }

extern const QueueFunctions kQueues;

}  // namespace qround::ops::cuda
