// Learned rounding (SignRound, arXiv 2309.05516): the rule of full_range_int4.h with tuned
// parameters, and the sign steps that tune them.
//
// Every weight has an offset v to its code before rounding, every group a factor alpha of its
// negative and beta of its positive extreme. With D = dL/dw^ of the weights w^ = s * q the network
// computes with, n = rne(w / s + v) and q = clamp(n, -8, 7):
//
//   dL/dv_j = D_j s M_j          dL/ds = sum over the group of D_j (q_j - M_j w_j / s)
//   ds/dalpha = |low| / 8 when the negative side is the larger, ds/dbeta = -high / 8 when the
//   positive side is; both with half of a negative sign when they are equal; none while s is held
//   at its smallest magnitude
//
// M says where rounding and clamping pass a gradient (ClampRule). Only signs matter: each parameter
// moves against the sign of its gradient by the step of the iteration. v is kept as an integer
// number of units, so that the order of steps cannot change it.
#pragma once

#include <cstdint>

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops {

// Where M is 1.
enum class ClampRule {
  closed,  // -8 <= n <= 7: PyTorch up to 2.13
  open,    // -8 < n < 7: PyTorch from 2.14 on
  inward,  // as closed, but a weight whose code is at a limit does not move further out
};

struct SignRoundRule {
  float v_unit = 0;  // v = units * v_unit
  ClampRule clamp = ClampRule::inward;
  bool bf16_scales = true;  // scales are rounded to values that BF16 and F16 both hold exactly
  bool f16_scale_gradient = false;  // dL/ds is summed and rounded as a PyTorch F16 tensor would be
  float max_factor = 1;             // alpha and beta stay within [0, max_factor]
};

// The tuned parameters of W [N, K], of which rows [begin, end) are meant; pointers lead to the
// whole matrix.
struct SignRoundRows {
  int64_t begin = 0, end = 0;
  int64_t group_size = 128;  // G: 32, 64 or 128; divides K
  int16_t* v = nullptr;      // [N, K] units
  float* alpha = nullptr;    // [N, K / G]
  float* beta = nullptr;     // [N, K / G]
};

// Where results go; pointers lead to the whole matrix, and those that are null are not wanted.
struct SignRoundResult {
  DType dtype = DType::f32;    // of values: F32, or BF16 (rounded)
  void* values = nullptr;      // [N, K]: w^
  uint8_t* codes = nullptr;    // [N, K]: 0..15
  uint16_t* scales = nullptr;  // [N, K / G] f16 bits
};

using SignRoundFunction = void(const DenseWeight& weight, const SignRoundRule& rule,
                               const SignRoundRows& rows, const SignRoundResult& result,
                               const OpContext& context);

struct SignRoundStepSizes {
  int16_t v_units = 0;    // of v
  float factor_step = 0;  // of alpha and beta
};

struct SignRoundStep {
  const float* gradient = nullptr;  // D of the rows, [end - begin, K]
  SignRoundStepSizes sizes;
};

// Moves v, alpha and beta of the rows one step.
using SignRoundStepFunction = void(const DenseWeight& weight, const SignRoundRule& rule,
                                   const SignRoundRows& rows, const SignRoundStep& step,
                                   const OpContext& context);

namespace ref {
SignRoundFunction sign_round;
SignRoundStepFunction sign_round_step;
}  // namespace ref

namespace cpu {
SignRoundFunction sign_round;
SignRoundStepFunction sign_round_step;
}  // namespace cpu

namespace cuda {
SignRoundFunction sign_round;
SignRoundStepFunction sign_round_step;
}  // namespace cuda

}  // namespace qround::ops
