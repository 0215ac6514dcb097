// A thread's share of a linear map: a range of outputs for some rows. The linear map and the
// mixture of experts cut their work into such shares, by shapes alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace qround::ops::cpu {

struct LinearShare {
  const Weight* weight = nullptr;     // without_trivial_g_idx
  const float* x = nullptr;           // [rows, K]
  const uint32_t* x_pairs = nullptr;  // or, of a BF16 weight: x rounded, [rows, pairs(K)]
  float* y = nullptr;                 // [rows, N]: outputs [begin, end) are written
  int64_t rows = 0;
  int64_t begin = 0, end = 0;  // begin is a multiple of 8
  int64_t y_stride = 0;
  bool many_rows = false;  // OpContext::many_rows
};

// Outputs of one share; a multiple of 64, so shares cut no word of zeros and no cache line of y.
int64_t share_width(int64_t n_outputs);

// 64-byte aligned scratch a thread needs for linear_share.
inline constexpr size_t kShareScratchFloats = size_t{64} * 256;

// A row's bits depend on the weight's format and shape and on whether there are few rows or many.
void linear_share(const LinearShare& share, float* scratch);

}  // namespace qround::ops::cpu
