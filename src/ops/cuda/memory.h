// The memory of the GPU as ops/memory.h describes it.
#pragma once

#include "ops/memory.h"

namespace qround::ops::cuda {

extern const Memory kDeviceMemory;

}  // namespace qround::ops::cuda
