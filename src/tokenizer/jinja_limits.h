// What one rendering may spend. The defaults let real templates over very long conversations pass
// and end a hostile one within a second or two.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qround {

struct JinjaLimits {
  uint64_t max_steps = 50'000'000;                // nodes evaluated, elements and text visited
  size_t max_output_bytes = size_t{128} << 20;    // of the rendered text
  size_t max_produced_bytes = size_t{512} << 20;  // strings and lists made on the way, in total
  size_t max_depth = 1000;                        // expressions, statements and calls in each other
};

}  // namespace qround
