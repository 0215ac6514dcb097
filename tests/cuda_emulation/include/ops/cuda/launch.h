// The emulated twin of src/ops/cuda/launch.h.
#pragma once

#include <string_view>
#include <type_traits>

#include "cuda_runtime.h"
#include "ops/cuda/check.h"
#include "ops/cuda/stream.h"
#include "ops/workspace.h"

namespace qround::ops::cuda {

inline constexpr std::string_view kBackendName = "cuda-emulated";

template <typename T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(cuda_emulation::shared_memory());
}

template <typename... P>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, Stream* stream,
            std::type_identity_t<P>... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || is_rehearsal(stream)) return;
  cuda_emulation::enqueue(handle(stream), [=] {
    const auto call = [&] { kernel(arguments...); };
    cuda_emulation::run_grid(
        {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes,
        {[](const void* bound) { (*static_cast<const decltype(call)*>(bound))(); }, &call});
  });
}

}  // namespace qround::ops::cuda
