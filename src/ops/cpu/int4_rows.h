// A few rows of x times an int4 weight, straight from the file's layout.
//
// Row r of qweight holds inputs 8r .. 8r + 7 of every output, so a vector of words is a vector of
// outputs and a shift by 4j leaves input 8r + j of each. The walk is in segments of kStripDepth
// inputs: their words are read as sequential streams, weights are made in registers for a tile of
// outputs, and y (which stays in the first-level cache) takes the segment's sums. Products of many
// rows (int4_strip.h) make the same weights and the same sums: a row's bits do not depend on how
// many rows come with it.
#pragma once

#include "ops/weight.h"

namespace qround::ops::cpu {

struct Int4Rows {
  const Int4Weight* weight = nullptr;  // has_word_groups
  const float* x = nullptr;            // [rows, K]
  float* y = nullptr;                  // [rows, N], rows y_stride apart
  int64_t rows = 0;
  int64_t begin = 0, end = 0;  // the outputs to compute; begin is a multiple of 8
  int64_t x_stride = 0, y_stride = 0;
};

void multiply_int4_rows(const Int4Rows& product);

}  // namespace qround::ops::cpu
