#include "ops/cuda/check.h"
#include "ops/cuda/memory.h"
#include "ops/cuda/stream.h"

namespace qround::ops::cuda {
namespace {

void* allocate(size_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, bytes), "cudaMalloc");
  return data;
}

void release(void* data) noexcept { cudaFree(data); }

void upload(void* to, const void* host, size_t bytes, Stream* stream) {
  check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, handle(stream)),
        "cudaMemcpyAsync to the device");
}

void synchronize(Stream* stream) {
  check(cudaStreamSynchronize(handle(stream)), "cudaStreamSynchronize");
}

void download(void* host, const void* from, size_t bytes, Stream* stream) {
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, handle(stream)),
        "cudaMemcpyAsync from the device");
  synchronize(stream);
}

void copy(void* to, const void* from, size_t bytes, Stream* stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle(stream)),
        "cudaMemcpyAsync on the device");
}

void fill_zero(void* to, size_t bytes, Stream* stream) {
  check(cudaMemsetAsync(to, 0, bytes, handle(stream)), "cudaMemsetAsync");
}

uint64_t free_bytes() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

}  // namespace

const Memory kDeviceMemory = {.is_host = false,
                              .allocate = allocate,
                              .release = release,
                              .upload = upload,
                              .download = download,
                              .copy = copy,
                              .fill_zero = fill_zero,
                              .synchronize = synchronize,
                              .free_bytes = free_bytes,
                              .queues = &kQueues};

}  // namespace qround::ops::cuda
