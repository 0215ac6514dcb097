// Brings the sequences of each iteration to where the block reads them.
//
// On a host, and where a device has the samples in its memory, that is a copy. Samples the host
// keeps for a device travel while it works at the batch before: through pinned memory and a stream
// of their own into a second place, from which `give` takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/queues.h"
#include "quant/sample_store.h"

namespace qround::quant {

class BatchFeed {
 public:
  // References must outlive the feed. `floats` of each sample are used; `batch` samples at most.
  BatchFeed(const SampleStore& inputs, const SampleStore& targets, int64_t batch, int64_t floats,
            const Executor& executor);

  // The batch after the one given last.
  void fetch(std::vector<int64_t> samples);
  // The batch fetched, [batch, floats] each, when the executor's stream gets there.
  void give(float* inputs, float* targets);

 private:
  // How a batch travels beside the device's work.
  struct Travel {
    Travel(int64_t batch_floats, const ops::Memory& memory);

    ops::PinnedFloats pinned;    // inputs, then targets
    ops::Buffer<float> arrived;  // the same on the device
    ops::OwnedStream stream;
    ops::OwnedEvent sent, consumed;  // pinned may be written again; arrived may
  };

  int64_t batch_floats() const { return static_cast<int64_t>(samples_.size()) * floats_; }

  const SampleStore &inputs_, &targets_;
  int64_t floats_;
  const Executor& executor_;
  std::vector<int64_t> samples_;
  std::optional<Travel> travel_;
};

}  // namespace qround::quant
