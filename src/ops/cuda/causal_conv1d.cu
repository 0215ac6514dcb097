// Forward: a thread per output. Backward: δ = dL/d(convolution) first, into scratch, since du may
// lie where u or d_out do; then du_s = Σ_j w_j δ_{s+Kc-1-j} and, a thread per tap, dw_j = Σ_t δ_t
// u_{t-Kc+1+j} in order of t.
#include "ops/causal_conv1d.h"
#include "ops/cuda/activation.h"
#include "ops/cuda/elements.h"

namespace qround::ops::cuda {
namespace {

// Input `t` of a channel, where negative times lie in the history.
__device__ float input_at(const CausalConv1dArgs& args, int64_t t, int64_t channel) {
  if (t >= 0) return args.u[t * args.channels + channel];
  return args.history[(args.taps - 1 + t) * args.channels + channel];
}

__global__ void convolve(CausalConv1dArgs args) {
  const int64_t index = element_index();
  if (index >= args.tokens * args.channels) return;
  const int64_t t = index / args.channels, c = index % args.channels;
  float sum = 0;
  for (int64_t j = 0; j < args.taps; ++j)
    sum += args.weight[c * args.taps + j] * input_at(args, t - (args.taps - 1) + j, c);
  args.out[index] = silu(sum);
}

// Oldest first: every value is read before its place is overwritten.
__global__ void keep_history(CausalConv1dArgs args) {
  const int64_t c = element_index(), kept = args.taps - 1;
  if (c >= args.channels) return;
  for (int64_t i = 0; i < kept; ++i)
    args.history[i * args.channels + c] = input_at(args, args.tokens - kept + i, c);
}

struct Backward {
  CausalConv1dBackwardArgs args;
  float* delta;  // [sequences, T, C]
};

__device__ float sequence_input(const CausalConv1dBackwardArgs& args, int64_t row, int64_t t,
                                int64_t back, int64_t channel) {
  return t < back ? 0.0f : args.u[(row - back) * args.channels + channel];
}

__global__ void make_delta(Backward pass) {
  const CausalConv1dBackwardArgs& args = pass.args;
  const int64_t index = element_index();
  if (index >= args.sequences * args.tokens * args.channels) return;
  const int64_t row = index / args.channels, c = index % args.channels, t = row % args.tokens;
  float sum = 0;
  for (int64_t j = 0; j < args.taps; ++j)
    sum += args.weight[c * args.taps + j] * sequence_input(args, row, t, args.taps - 1 - j, c);
  pass.delta[index] = args.d_out[index] * silu_slope(sum);
}

__global__ void weight_taps(Backward pass) {
  const CausalConv1dBackwardArgs& args = pass.args;
  const int64_t index = element_index();
  if (index >= args.channels * args.taps) return;
  const int64_t c = index / args.taps, back = args.taps - 1 - index % args.taps;
  float sum = 0;
  for (int64_t row = 0; row < args.sequences * args.tokens; ++row)
    sum +=
        pass.delta[row * args.channels + c] * sequence_input(args, row, row % args.tokens, back, c);
  args.d_weight[index] += sum;
}

__global__ void input_gradient(Backward pass) {
  const CausalConv1dBackwardArgs& args = pass.args;
  const int64_t index = element_index();
  if (index >= args.sequences * args.tokens * args.channels) return;
  const int64_t row = index / args.channels, c = index % args.channels, t = row % args.tokens;
  float sum = 0;
  for (int64_t j = 0; j < args.taps; ++j) {
    const int64_t ahead = args.taps - 1 - j;
    if (t + ahead < args.tokens)
      sum += args.weight[c * args.taps + j] * pass.delta[index + ahead * args.channels];
  }
  args.du[index] = sum;
}

}  // namespace

void causal_conv1d_silu(const CausalConv1dArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  launch_elements(convolve, args.tokens * args.channels, context.stream, args);
  launch_elements(keep_history, args.channels, context.stream, args);
}

void causal_conv1d_silu_backward(const CausalConv1dBackwardArgs& args, const OpContext& context) {
  const int64_t count = args.sequences * args.tokens * args.channels;
  Workspace::Scope scope(context.workspace);
  const Backward pass{args, scope.take<float>(static_cast<size_t>(count)).data()};
  launch_elements(make_delta, count, context.stream, pass);
  if (args.d_weight != nullptr)
    launch_elements(weight_taps, args.channels * args.taps, context.stream, pass);
  launch_elements(input_gradient, count, context.stream, pass);
}

}  // namespace qround::ops::cuda
