// How kernels are launched and where they find their dynamic shared memory.
// Tests replace this header by tests/cuda_emulation/include/ops/cuda/launch.h.
#pragma once

#include <cuda_runtime.h>

#include <string_view>
#include <type_traits>

#include "ops/cuda/check.h"
#include "ops/cuda/stream.h"
#include "ops/workspace.h"

namespace qround::ops::cuda {

inline constexpr std::string_view kBackendName = "cuda";

// The shared memory a launch asked for; 16-byte aligned, uninitialized. In kernels.
template <typename T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char qround_dynamic_shared[];
  return reinterpret_cast<T*>(qround_dynamic_shared);
}

inline constexpr size_t kSharedBytesWithoutAsking = 48 << 10;

// Enqueues kernel<<<grid, block, shared_bytes>>>(arguments...) on the stream (null: the default
// one). A grid without blocks does nothing, nor does a launch on a rehearsal's stream. Blocks of up
// to 1024 threads, shared memory up to 99 KiB, which every supported card has.
template <typename... P>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, Stream* stream,
            std::type_identity_t<P>... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || is_rehearsal(stream)) return;
  if (shared_bytes > kSharedBytesWithoutAsking)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "cudaFuncSetAttribute");
  kernel<<<grid, block, shared_bytes, handle(stream)>>>(arguments...);
  check(cudaGetLastError(), "kernel launch");
}

}  // namespace qround::ops::cuda
