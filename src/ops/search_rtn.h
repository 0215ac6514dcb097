// Round-to-nearest with a searched scale ("optimized RTN"): of many scales of a group the one that
// makes the smallest weighted error, instead of the one that just reaches the group's extreme.
//
//   error(s) = sum over the group of d_j (w_j - s q_j)^2        q_j = clamp(rne(w_j / s), -8, 7)
//
// d is the importance of an input, best its mean square over calibration tokens: sum d_j e_j^2 is
// then what the map's output is off by, as far as inputs are uncorrelated. The scale of plain
// rounding (full_range_int4.h) is tried first and replaced by what is strictly better, so the error
// is never larger than plain rounding's.
//
// A smaller scale than plain rounding's clips the largest weights, and either sign can win: codes
// reach from -8 to 7, so the sign says which side has one more.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/quantize_rtn.h"
#include "ops/weight.h"

namespace qround::ops {

// Which scales are tried, with m the group's extreme and its sign.
enum class ScaleGrid {
  bf16,       // every number that BF16 and F16 both hold from |m| / 32 to |m| / 6, of both signs
  autoround,  // -m / (8 - 0.06 k), k = -100 .. 100, as auto-round 0.16.1: F32 while searching, F16
              // when written; the sign is that of plain rounding
};

struct SearchRtnRows {
  int64_t begin = 0, end = 0;  // rows of W [N, K]
  int64_t group_size = 128;    // G: 32, 64 or 128; divides K
  ScaleGrid grid = ScaleGrid::bf16;
  const float* importance = nullptr;  // d [K], finite, >= 0; null: 1 throughout
  uint8_t* codes = nullptr;           // [end - begin, K], 0..15
  uint16_t* scales = nullptr;         // [end - begin, K / G] f16 bits
};

// A weighted error is one chain of multiply-adds in the order of inputs: all versions choose alike.
using SearchRtnFunction = RtnSums(const DenseWeight& weight, const SearchRtnRows& rows);

// What the scales of a group follow from.
struct SearchedGroup {
  float low = 0, high = 0;  // as in GroupRange
  float extreme = 0;        // the first weight of the largest magnitude
};

// The scales to try for a group, plain rounding's first. Shared by all versions.
void scale_candidates(ScaleGrid grid, const SearchedGroup& group, std::vector<float>& candidates);

namespace ref {
SearchRtnFunction search_rtn;
}  // namespace ref

namespace cpu {
SearchRtnFunction search_rtn;
}  // namespace cpu

namespace cuda {
SearchRtnFunction search_rtn;  // waits for its result
}  // namespace cuda

}  // namespace qround::ops
