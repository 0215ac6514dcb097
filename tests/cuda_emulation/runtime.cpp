// CUDA's runtime on host memory. The default stream does everything at once. Every other stream
// does it as late as it may: when somebody waits for it, on the host or by an event; so work that
// does not wait for what it needs meets memory as it was before. Sources in pinned memory are read
// then, others at once. A graph is a list of work.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "cuda_runtime.h"

namespace {

constexpr std::align_val_t kAlignment{256};
constexpr int kNaNByte = 0xFF;
constexpr size_t kMemoryBytes = size_t{4} << 30;

// In front of an allocation: its size.
constexpr size_t kHeaderBytes = 256;
std::atomic<size_t> used_bytes = 0;

// Of pinned allocations, where they end by where they begin.
std::mutex pinned_mutex;
std::map<const std::byte*, const std::byte*> pinned;

bool is_pinned(const void* data) {
  const std::lock_guard lock(pinned_mutex);
  const auto* at = static_cast<const std::byte*>(data);
  const auto after = pinned.upper_bound(at);
  return after != pinned.begin() && at < std::prev(after)->second;
}

}  // namespace

using Work = std::vector<std::function<void()>>;
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};
// What a stream has yet to do, from number `done` on.
struct CUstream_st {
  std::vector<std::function<void()>> work;
  size_t done = 0;
  std::unique_ptr<CUgraph_st> recorded;  // while it is being recorded

  void run_until(size_t count) {
    for (; done < count; ++done) work[done]();
  }
};
// After the first `count` pieces of a stream's work; null: nothing to wait for.
struct CUevent_st {
  cudaStream_t stream = nullptr;
  size_t count = 0;

  void wait() const {
    if (stream != nullptr) stream->run_until(count);
  }
};

void qround::cuda_emulation::enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream == nullptr) return work();
  (stream->recorded != nullptr ? stream->recorded->work : stream->work).push_back(std::move(work));
}

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "cudaErrorOfTheEmulation";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "emulated";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated", kMemoryBytes, size_t{99} << 10, 2, 8, 0};
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = kMemoryBytes - used_bytes;
  *total_bytes = kMemoryBytes;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (bytes > kMemoryBytes - used_bytes) return cudaErrorMemoryAllocation;
  auto* header = static_cast<std::byte*>(::operator new(bytes + kHeaderBytes, kAlignment));
  std::memcpy(header, &bytes, sizeof(bytes));
  std::memset(header + kHeaderBytes, kNaNByte, bytes);
  used_bytes += bytes;
  *data = header + kHeaderBytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  std::byte* header = static_cast<std::byte*>(data) - kHeaderBytes;
  size_t bytes = 0;
  std::memcpy(&bytes, header, sizeof(bytes));
  used_bytes -= bytes;
  ::operator delete(header, kAlignment);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  auto* begin = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(begin, kNaNByte, bytes);
  const std::lock_guard lock(pinned_mutex);
  pinned.emplace(begin, begin + bytes);
  *data = begin;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  {
    const std::lock_guard lock(pinned_mutex);
    pinned.erase(static_cast<const std::byte*>(data));
  }
  ::operator delete(data, kAlignment);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (kind == cudaMemcpyHostToDevice && stream != nullptr && !is_pinned(from)) {
    const auto* values = static_cast<const std::byte*>(from);
    qround::cuda_emulation::enqueue(stream,
                                    [to, copy = std::vector<std::byte>(values, values + bytes)] {
                                      std::memcpy(to, copy.data(), copy.size());
                                    });
  } else {
    qround::cuda_emulation::enqueue(stream, [to, from, bytes] { std::memcpy(to, from, bytes); });
  }
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes > 0)
    qround::cuda_emulation::enqueue(stream, [to, value, bytes] { std::memset(to, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr) return cudaErrorInvalidValue;
  stream->recorded = std::make_unique<CUgraph_st>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->recorded.release();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  for (const std::function<void()>& work : exec->work) work();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  cudaStreamSynchronize(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr) stream->run_until(stream->work.size());
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  qround::cuda_emulation::enqueue(stream, [at = *event] { at.wait(); });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  *event = {stream, stream == nullptr ? 0 : stream->work.size()};
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  event->wait();
  return cudaSuccess;
}
