// One thread's share of an input gradient dx = dy W: a range of inputs for some rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"

namespace qround::ops::cpu {

struct InputGradientShare {
  const Weight* weight = nullptr;
  const float* dy = nullptr;           // [rows, N]
  const uint32_t* dy_pairs = nullptr;  // or, of a BF16 weight: dy rounded, [rows, pairs(N)]
  float* dx = nullptr;                 // [rows, K]: inputs [begin, end) are written
  int64_t rows = 0;
  int64_t begin = 0, end = 0;
  bool add_to_dx = false;
};

// Inputs and rows of one share.
inline constexpr int64_t kInputShareWidth = 128;
inline constexpr int64_t kInputShareRows = 512;
// 64-byte aligned scratch a thread needs.
inline constexpr size_t kInputShareScratchFloats = size_t{64} * 256;

// dx[t][k] is one chain of multiply-adds per 256 outputs, whatever the rows beside it.
void input_gradient_share(const InputGradientShare& share, float* scratch);

}  // namespace qround::ops::cpu
