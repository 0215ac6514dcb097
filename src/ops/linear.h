// Linear maps. y[t][n] = sum over k of x[t][k] * W[n][k], accumulated in f32.
#pragma once

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops {

// x [T, K], y [T, N]; T = rows. No bias: the family has none in its text part. A row of y has the
// same bits whatever rows come with it: the engine's promises rest on that.
//
// With Activations::int8 a map with an int4 weight reads x rounded: for each row and each group g
// of the weight's inputs, s a[k] for x[k], where s = max |x[k]| / 127 over the group and a[k] is
// the integer nearest to x[k] * (127 / max |x[k]|) (ties to even; a group of zeros, or of numbers
// below 1e-30, is zero). Products of codes and a are summed exactly, those of groups in f32.
// Weights whose groups are shuffled (g_idx), longer than 256 inputs or no multiple of 8 take x as
// it is. An int8 weight reads x rounded in the same way.
//
// With Activations::bf16 and int8 a map with a BF16 weight reads x, and its gradient dy, rounded to
// BF16 (ties to even); sums are f32. Other weights take x as it is.
using LinearFunction = void(const Weight& weight, const float* x, int64_t rows, float* y,
                            const OpContext& context);

// Rows [begin, end) of W as f32 into out [end - begin, K]: how panels of any weight format are
// made.
using DequantizeRowsFunction = void(const Weight& weight, int64_t begin, int64_t end, float* out);

// dx = dy W: the gradient of x.
struct LinearBackwardInputArgs {
  const float* dy = nullptr;  // [T, N]
  float* dx = nullptr;        // [T, K]
  int64_t rows = 0;           // T
  bool add_to_dx = false;     // dx += instead of dx =
};
using LinearBackwardInputFunction = void(const Weight& weight, const LinearBackwardInputArgs& args,
                                         const OpContext& context);

namespace ref {
LinearFunction linear;
DequantizeRowsFunction dequantize_rows;
LinearBackwardInputFunction linear_backward_input;
}  // namespace ref

namespace cpu {
// Dense weights: vector dot products straight on the stored values, whatever the number of rows.
// int4: the codes as they lie for a few rows; for more, strips of f32 that stay in the cache. The
// work is cut by shapes alone.
LinearFunction linear;
DequantizeRowsFunction dequantize_rows;
LinearBackwardInputFunction linear_backward_input;
}  // namespace cpu

namespace cuda {
// bf16 products on tensor cores: x is rounded to bf16 whatever OpContext::activations says, and so
// are weights that are stored neither in BF16 nor as int4 with groups in order. A weight with a
// g_idx counts as one with shuffled groups: whoever copies weights to a GPU leaves trivial ones
// out.
LinearFunction linear;
DequantizeRowsFunction dequantize_rows;
LinearBackwardInputFunction linear_backward_input;
}  // namespace cuda

}  // namespace qround::ops
