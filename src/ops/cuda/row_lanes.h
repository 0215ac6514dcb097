// How kernels that work row by row share the rows among threads: a warp takes a narrow one, a block
// a wide one.
#pragma once

#include <cstdint>

#include "ops/cuda/reduce.h"

namespace qround::ops::cuda {

inline constexpr int kRowBlock = 256;  // threads of a block, whoever takes the rows
inline constexpr int64_t kWideRow = 1024;

// In kernels: the row of this thread when kLanes threads take one, and the thread's place in it.
template <int kLanes>
__device__ int64_t row_index() {
  return int64_t{blockIdx.x} * (kRowBlock / kLanes) + threadIdx.x / kLanes;
}
template <int kLanes>
__device__ int64_t row_lane() {
  return threadIdx.x % kLanes;
}

template <int kLanes>
dim3 row_grid(int64_t rows) {
  constexpr int64_t kRows = kRowBlock / kLanes;
  return dim3(static_cast<unsigned>((rows + kRows - 1) / kRows));
}

// Launches narrow<...> or wide<...>, two instances of one kernel.
template <typename... P>
void launch_rows(void (*narrow)(P...), void (*wide)(P...), int64_t rows, int64_t width,
                 Stream* stream, std::type_identity_t<P>... arguments) {
  if (width < kWideRow) {
    launch(narrow, row_grid<kWarpLanes>(rows), kRowBlock, 0, stream, arguments...);
  } else {
    launch(wide, row_grid<kRowBlock>(rows), kRowBlock, 0, stream, arguments...);
  }
}

}  // namespace qround::ops::cuda
