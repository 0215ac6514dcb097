// Passes of the same shape as earlier ones, repeated instead of enqueued operation by operation.
//
// A decode pass of a 35B is some thousand short kernels, and enqueueing them takes longer than
// running them. All that differs between two passes of one shape lies in the backend's memory
// (BatchView), at the same address each time, so the second pass of a shape is recorded and later
// ones repeat the recording.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>

#include "model/batch_view.h"
#include "ops/graphs.h"

namespace qround {

struct Executor;

class PassGraphs {
 public:
  // Null graphs: everything runs as it is.
  explicit PassGraphs(const ops::Graphs* graphs) : graphs_(graphs) {}

  // Runs enqueue(executor), whose operations depend on `view` and on `operands` (addresses, or what
  // else tells passes apart) and on nothing else that changes. Takes workspace in the same order
  // each time, from the same place.
  void run(const BatchView& view, std::array<const void*, 3> operands, const Executor& executor,
           const std::function<void(const Executor&)>& enqueue);

 private:
  struct Release {
    const ops::Graphs* graphs;
    void operator()(ops::Graph* graph) const { graphs->release(graph); }
  };
  // Extents of the batch, then addresses.
  using Key = std::array<int64_t, 9>;
  using OwnedGraph = std::unique_ptr<ops::Graph, Release>;

  static constexpr size_t kMostShapes = 128;

  const ops::Graphs* graphs_;
  std::map<Key, OwnedGraph> recorded_;  // null: the shape came once
};

}  // namespace qround
