// The next block on its way to the device while the one before is tuned: read from the disk by a
// thread of its own and copied on a stream of its own.
#pragma once

#include <optional>

#include "model/block_weights.h"
#include "ops/queues.h"
#include "quant/background_lane.h"
#include "quant/export_plan.h"

namespace qround::quant {

class NextBlock {
 public:
  // Begins to load. References must outlive the object.
  NextBlock(const Checkpoint& source, const ModelConfig& config, const TensorTable& table,
            const ExportStep& step, const ops::Memory& device);

  const ExportStep& step() const { return step_; }

  // The block, once; `stream` goes on when it is there. Throws what loading threw.
  ResidentBlock take(ops::Stream* stream);

 private:
  const ExportStep& step_;
  ResidentBlock block_;  // before the stream, whose end waits for what is still copied into it
  ops::OwnedStream stream_;
  ops::OwnedEvent loaded_;
  BackgroundLane lane_;  // last: it uses the members above
};

}  // namespace qround::quant
