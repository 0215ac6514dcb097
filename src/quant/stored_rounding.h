// What an earlier run of a job wrote of a step, checked and read back.
#pragma once

#include <cstdint>
#include <optional>

#include "base/threads.h"
#include "checkpoint/partial_shards.h"
#include "quant/export_plan.h"
#include "quant/rounding_state.h"

namespace qround::quant {

// The checksum of the step's int4 tensors, in the order they are written (StepRecord); nothing when
// a tensor of the step, copied ones included, is not there.
std::optional<uint32_t> stored_crc32(const ExportStep& step, const PartialShards& shards);

// Codes and scales of the step's int4 maps, in the order of its items. They must be there.
RoundingSnapshot stored_rounding(const ExportStep& step, const PartialShards& shards,
                                 Threads threads);

}  // namespace qround::quant
