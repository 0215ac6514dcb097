// Work of a device that is recorded once and then repeated with one call, which costs less than
// enqueueing its operations one by one.
#pragma once

#include "ops/memory.h"

namespace qround::ops {

struct Graph;

struct Graphs {
  // enqueue(what, stream) is called once; what it enqueues on `stream` is recorded instead of done.
  // It must not wait, allocate or copy from or to host memory. Operands are recorded by their
  // addresses: they hold other values each time. Throws Error.
  Graph* (*record)(void (*enqueue)(void* what, Stream* stream), void* what) = nullptr;
  // Enqueues all of it on the backend's own stream.
  void (*run)(Graph* graph) = nullptr;
  void (*release)(Graph* graph) noexcept = nullptr;
};

}  // namespace qround::ops
