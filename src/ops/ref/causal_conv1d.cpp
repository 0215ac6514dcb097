#include "ops/causal_conv1d.h"

#include <cmath>

namespace qround::ops::ref {
namespace {

float silu(float x) { return x / (1.0f + std::exp(-x)); }

// Input `t` of a channel, where negative times lie in the history.
float input_at(const CausalConv1dArgs& args, int64_t t, int64_t channel) {
  if (t >= 0) return args.u[t * args.channels + channel];
  return args.history[(args.taps - 1 + t) * args.channels + channel];
}

}  // namespace

void causal_conv1d_silu(const CausalConv1dArgs& args, const OpContext&) {
  const int64_t kept = args.taps - 1;
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t c = 0; c < args.channels; ++c) {
      float sum = 0;
      for (int64_t j = 0; j < args.taps; ++j)
        sum += args.weight[c * args.taps + j] * input_at(args, t - kept + j, c);
      args.out[t * args.channels + c] = silu(sum);
    }
  // Oldest first: every value is read before its place is overwritten.
  for (int64_t i = 0; i < kept; ++i)
    for (int64_t c = 0; c < args.channels; ++c)
      args.history[i * args.channels + c] = input_at(args, args.tokens - kept + i, c);
}

}  // namespace qround::ops::ref
