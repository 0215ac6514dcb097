#include "ops/cuda/check.h"
#include "ops/cuda/stream.h"

namespace qround::ops::cuda {

OwnedStream::OwnedStream() {
  check(cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking),
        "cudaStreamCreateWithFlags");
}
OwnedStream::~OwnedStream() { cudaStreamDestroy(stream_.handle); }

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}
Event::~Event() { cudaEventDestroy(event_); }

void Event::record(const Stream* stream) {
  check(cudaEventRecord(event_, handle(stream)), "cudaEventRecord");
}
void Event::wait_in(const Stream* stream) const {
  check(cudaStreamWaitEvent(handle(stream), event_, 0), "cudaStreamWaitEvent");
}
void Event::wait() const { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

}  // namespace qround::ops::cuda
