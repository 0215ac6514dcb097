#include "ops/cuda/check.h"
#include "ops/cuda/graphs.h"
#include "ops/cuda/stream.h"

namespace qround::ops {

struct Graph {
  cudaGraphExec_t handle = nullptr;
};

}  // namespace qround::ops

namespace qround::ops::cuda {
namespace {

// A stream whose work is recorded. Ends well where an exception leaves it.
class Recording {
 public:
  Recording() {
    check(cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking),
          "cudaStreamCreateWithFlags");
    const cudaError_t begun =
        cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal);
    records_ = begun == cudaSuccess;
    if (!records_) cudaStreamDestroy(stream_.handle);
    check(begun, "cudaStreamBeginCapture");
  }
  ~Recording() {
    if (records_) cudaStreamEndCapture(stream_.handle, &graph_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
    cudaStreamDestroy(stream_.handle);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  Stream* stream() { return &stream_; }
  cudaGraph_t end() {
    records_ = false;
    check(cudaStreamEndCapture(stream_.handle, &graph_), "cudaStreamEndCapture");
    return graph_;
  }

 private:
  Stream stream_;
  cudaGraph_t graph_ = nullptr;
  bool records_ = false;
};

Graph* record(void (*enqueue)(void* what, Stream* stream), void* what) {
  Recording recording;
  enqueue(what, recording.stream());
  Graph graph;
  check(cudaGraphInstantiate(&graph.handle, recording.end(), 0), "cudaGraphInstantiate");
  return new Graph(graph);
}

void run(Graph* graph) { check(cudaGraphLaunch(graph->handle, nullptr), "cudaGraphLaunch"); }

void release(Graph* graph) noexcept {
  if (graph == nullptr) return;
  cudaGraphExecDestroy(graph->handle);
  delete graph;
}

}  // namespace

const Graphs kGraphs = {.record = record, .run = run, .release = release};

}  // namespace qround::ops::cuda
