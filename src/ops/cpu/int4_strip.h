// A block of an int4 weight as f32 in the layout the matrix product reads: K-major, so that a step
// of k is one row of up to 64 outputs. The file's layout is K-major as well, so no transposition.
#pragma once

#include <cstdint>

#include "ops/weight.h"

namespace qround::ops::cpu {

inline constexpr int64_t kStripWidth = 64;  // outputs
// Inputs converted at a time. A strip of 64 KiB stays in the second-level cache; of depths 64, 128
// and 256 the last was fastest from 16 rows on.
inline constexpr int64_t kStripDepth = 256;

struct StripRange {
  int64_t n_begin = 0, n_end = 0;  // at most kStripWidth outputs, n_begin a multiple of 8
  int64_t k_begin = 0, k_end = 0;  // at most kStripDepth inputs, k_begin a multiple of 8
};

// strip[k - k_begin][n - n_begin] = W[n][k], rows of kStripWidth floats, exact. Columns beyond
// n_end are left as they are.
void make_int4_strip(const Int4Weight& weight, const StripRange& range, float* strip);

}  // namespace qround::ops::cpu
