#include "model/pass_graphs.h"

#include "model/block.h"

namespace qround {
namespace {

// Prompts differ too much in length, and their kernels are long.
bool is_decode(const ops::SequenceBatch& batch) {
  return batch.rows > 0 && batch.short_sequences == batch.sequences;
}

}  // namespace

void PassGraphs::run(const BatchView& view, std::array<const void*, 3> operands,
                     const Executor& executor,
                     const std::function<void(const Executor&)>& enqueue) {
  const ops::SequenceBatch& batch = view.sequences;
  if (graphs_ == nullptr || !is_decode(batch)) return enqueue(executor);
  const auto address = [](const void* operand) { return reinterpret_cast<int64_t>(operand); };
  const Key key = {batch.sequences,      batch.rows,           batch.most_tokens,
                   batch.most_context,   batch.short_rows,     address(batch.places),
                   address(operands[0]), address(operands[1]), address(operands[2])};
  const auto known = recorded_.find(key);
  if (known == recorded_.end()) {
    enqueue(executor);  // workspace grows here, not in a recording
    if (recorded_.size() < kMostShapes) recorded_.emplace(key, OwnedGraph(nullptr, {graphs_}));
    return;
  }
  if (known->second == nullptr) {
    const auto record = [&](ops::Stream* stream) {
      Executor recording = executor;
      recording.context.stream = stream;
      enqueue(recording);
    };
    known->second.reset(graphs_->record(
        [](void* what, ops::Stream* stream) { (*static_cast<decltype(record)*>(what))(stream); },
        const_cast<void*>(static_cast<const void*>(&record))));
  }
  graphs_->run(known->second.get());
}

}  // namespace qround
