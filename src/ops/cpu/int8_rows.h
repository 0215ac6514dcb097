// Rounded inputs times an int8 weight, row by row of the weight as it lies: dot products in whole
// numbers within a group, f32 between groups. Each y[t][n] is summed in the same order whatever the
// number of rows and outputs.
#pragma once

#include <cstdint>

#include "ops/cpu/int8_inputs.h"
#include "ops/weight.h"

namespace qround::ops::cpu {

struct Int8Rows {
  const Int8Weight* weight = nullptr;
  const Int8Inputs* inputs = nullptr;  // with the weight's k and group size
  int64_t first_row = 0, rows = 0;     // of the inputs and of y
  int64_t begin = 0, end = 0;          // outputs to compute
  float* y = nullptr;                  // [inputs->rows, N]
};

void multiply_int8_rows(const Int8Rows& product);

}  // namespace qround::ops::cpu
