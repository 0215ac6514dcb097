// Stands for ops/cuda in programs built without it.
#include "ops/backend.h"

namespace qround::ops::cuda {

Backend backend() {
  return {.name = "cuda",
          .description = "NVIDIA GPUs",
          .unusable_because = "this program was built without CUDA (cmake --preset cuda)"};
}

}  // namespace qround::ops::cuda
