// The one place where CUDA's error codes become exceptions.
#pragma once

#include <cuda_runtime.h>

namespace qround::ops::cuda {

// Throws Error naming `call`, of kind `resource` when memory ran out.
void check(cudaError_t result, const char* call);

}  // namespace qround::ops::cuda
