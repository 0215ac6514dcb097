// Kernels that work element by element: a thread takes one.
#pragma once

#include <cstdint>

#include "ops/cuda/launch.h"

namespace qround::ops::cuda {

inline constexpr int kElementBlock = 256;

// In kernels.
__device__ inline int64_t element_index() {
  return int64_t{blockIdx.x} * kElementBlock + threadIdx.x;
}

inline unsigned element_blocks(int64_t count) {
  return static_cast<unsigned>((count + kElementBlock - 1) / kElementBlock);
}

template <typename... P>
void launch_elements(void (*kernel)(P...), int64_t count, Stream* stream,
                     std::type_identity_t<P>... arguments) {
  launch(kernel, element_blocks(count), kElementBlock, 0, stream, arguments...);
}

}  // namespace qround::ops::cuda
