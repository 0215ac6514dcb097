// The memory a job promises to stay within.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "quant/export_plan.h"

namespace qround::quant {

// Output a batch of packed tensors gathers before it is written; a larger tensor is a batch alone.
inline constexpr uint64_t kBatchBytes = uint64_t{8} << 20;

// Peak of anonymous memory of rounding to nearest and of the check that follows.
uint64_t estimate_memory(const ExportPlan& plan, Threads threads);

}  // namespace qround::quant
