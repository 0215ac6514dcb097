// Rounding with error feedback (GPTQ, arXiv 2210.17323, in the form of LDLQ, arXiv 2307.13304): a
// row's weights are rounded one after the other, and each takes up what the errors before it are
// expected to do to the output. quant/feedback_factor.h makes the factor U that says so.
//
// For i = 0 .. K - 1, with c the input that is rounded as the i-th and e the errors so far:
//
//   v_c = clamp(rne(sum over j < i of U_ji e_j / s / unit), -most, most)      [units]
//   e_i = w_c - s code(w_c, s, v_c unit)                                      full_range_code
//
// What is handed on is not the code but the offset to w / s that leads to it, v of
// ops/sign_round.h: learned rounding goes on from there.
#pragma once

#include <cstdint>

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops {

struct ErrorFeedbackArgs {
  DenseWeight weight;              // W [N, K]
  const float* factor = nullptr;   // [K, K]: row i holds U_ji of all j < i, by place in the order
  const int32_t* order = nullptr;  // [K]: c of every i
  const float* scales = nullptr;   // s [N, K / G], not zero
  int64_t group_size = 128;        // G
  float v_unit = 0;
  int16_t most_units = 0;
  int16_t* v = nullptr;  // [N, K] units: the result
};

// A sum is one chain in the order of j, each product rounded before it is added: all versions give
// the same bits.
using RoundWithFeedbackFunction = void(const ErrorFeedbackArgs& args, const OpContext& context);

namespace ref {
RoundWithFeedbackFunction round_with_feedback;
}  // namespace ref

namespace cpu {
RoundWithFeedbackFunction round_with_feedback;
}  // namespace cpu

namespace cuda {
RoundWithFeedbackFunction round_with_feedback;
}  // namespace cuda

}  // namespace qround::ops
