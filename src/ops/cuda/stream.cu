#include <memory>

#include "ops/cuda/check.h"
#include "ops/cuda/stream.h"

namespace qround::ops::cuda {
namespace {

Stream* make_stream() {
  auto stream = std::make_unique<Stream>();
  check(cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking),
        "cudaStreamCreateWithFlags");
  return stream.release();
}

void release_stream(Stream* stream) noexcept {
  cudaStreamSynchronize(stream->handle);
  cudaStreamDestroy(stream->handle);
  delete stream;
}

Event* make_event() {
  auto event = std::make_unique<Event>();
  check(cudaEventCreateWithFlags(&event->handle, cudaEventDisableTiming),
        "cudaEventCreateWithFlags");
  return event.release();
}

void release_event(Event* event) noexcept {
  cudaEventDestroy(event->handle);
  delete event;
}

void record(Event* event, Stream* stream) {
  check(cudaEventRecord(event->handle, handle(stream)), "cudaEventRecord");
}

void wait(Event* event, Stream* stream) {
  check(cudaStreamWaitEvent(handle(stream), event->handle, 0), "cudaStreamWaitEvent");
}

void wait_on_host(Event* event) {
  check(cudaEventSynchronize(event->handle), "cudaEventSynchronize");
}

void* allocate_pinned(size_t bytes) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes), "cudaMallocHost");
  return data;
}

void release_pinned(void* data) noexcept { cudaFreeHost(data); }

}  // namespace

constexpr QueueFunctions kQueues = {.make_stream = make_stream,
                                    .release_stream = release_stream,
                                    .make_event = make_event,
                                    .release_event = release_event,
                                    .record = record,
                                    .wait = wait,
                                    .wait_on_host = wait_on_host,
                                    .allocate_pinned = allocate_pinned,
                                    .release_pinned = release_pinned};

}  // namespace qround::ops::cuda
