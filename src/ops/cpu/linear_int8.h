// Linear maps with inputs rounded to 8 bits: Activations::int8 of ops/linear.h.
#pragma once

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::cpu {

// weight: takes_int8_inputs. x [rows, K], y [rows, N].
void linear_int8(const Int8Weight& weight, const float* x, int64_t rows, float* y,
                 const OpContext& context);
void linear_int8(const Int4Weight& weight, const float* x, int64_t rows, float* y,
                 const OpContext& context);

}  // namespace qround::ops::cpu
