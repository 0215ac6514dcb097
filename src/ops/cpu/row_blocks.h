// How the row-wise operations are cut into tasks: by shapes alone, each task large enough to be
// worth handing to a thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/threads.h"

namespace qround::ops::cpu {

inline constexpr int64_t kTaskElements = 16 * 1024;  // some microseconds of elementwise work

// Calls body(begin, end) for blocks that cover rows [0, rows) of `width` elements.
template <class Body>
void for_row_blocks(Threads threads, int64_t rows, int64_t width, const Body& body) {
  const int64_t block = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width));
  parallel_for(threads, static_cast<size_t>((rows + block - 1) / block), [&](size_t index, int) {
    const int64_t begin = static_cast<int64_t>(index) * block;
    body(begin, std::min(rows, begin + block));
  });
}

}  // namespace qround::ops::cpu
