// The memory a job promises to stay within.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "quant/export_plan.h"

namespace qround::quant {

// Peak of anonymous memory of rounding to nearest and of the check that follows.
uint64_t estimate_memory(const ExportPlan& plan, Threads threads);

}  // namespace qround::quant
