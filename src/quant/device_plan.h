// What tuning takes of a device's memory, to the byte: every kind of block is tuned for an
// iteration in a rehearsal (ops/rehearsal.h), so the figure is that of the code that will run and
// no second account of it. What the driver keeps for a process is beside it.
//
// Memory beyond what one block needs makes a job faster, never other: hidden states of the
// calibration sequences stay on the device, and the next block travels there while this one is
// tuned.
#pragma once

#include <cstdint>

#include "ops/backend.h"
#include "quant/job.h"

namespace qround::quant {

struct DevicePlan {
  bool streams_on_device = false, next_on_device = false;
  uint64_t bytes = 0;            // of all buffers and the workspace
  uint64_t workspace_bytes = 0;  // of these
  uint64_t smallest_bytes = 0;   // with both on the host
  uint64_t host_bytes = 0;       // what the host takes for a block, streams apart
};

// The fastest way that takes at most `limit_bytes`, or the smallest where none does. The job has a
// recipe; the backend has a rehearsal stream and need not run here.
DevicePlan plan_device(const PlannedJob& job, const ops::Backend& backend, uint64_t limit_bytes);

}  // namespace qround::quant
