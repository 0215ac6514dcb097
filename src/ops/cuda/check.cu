#include <string>

#include "base/error.h"
#include "ops/cuda/check.h"

namespace qround::ops::cuda {

void check(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  const bool memory = result == cudaErrorMemoryAllocation;
  Error error(std::string(call) + " failed", memory ? ErrorKind::resource : ErrorKind::check);
  error.actual(std::string(cudaGetErrorName(result)) + ": " + cudaGetErrorString(result));
  if (memory) error.hint("--gpu-memory plans with less; qround plan prints what a job needs");
  throw error;
}

}  // namespace qround::ops::cuda
