// With pre = the convolution and δ = dL/dpre: du_s = Σ_j w_j δ_{s+Kc-1-j}, dw_j = Σ_t δ_t
// u_{t-Kc+1+j}.
#include <algorithm>
#include <cmath>

#include "ops/causal_conv1d.h"

namespace qround::ops::ref {
namespace {

float silu_derivative(float x) {
  const float s = 1.0f / (1.0f + std::exp(-x));
  return s * (1.0f + x * (1.0f - s));
}

// One channel of one sequence. `delta` is scratch for T values.
void channel_backward(const CausalConv1dBackwardArgs& args, int64_t sequence, int64_t channel,
                      float* delta) {
  const int64_t kept = args.taps - 1, first = sequence * args.tokens * args.channels + channel;
  const float* w = args.weight + channel * args.taps;
  const auto u = [&](int64_t t) { return t < 0 ? 0.0f : args.u[first + t * args.channels]; };
  for (int64_t t = 0; t < args.tokens; ++t) {
    float pre = 0;
    for (int64_t j = 0; j < args.taps; ++j) pre += w[j] * u(t - kept + j);
    delta[t] = args.d_out[first + t * args.channels] * silu_derivative(pre);
    if (args.d_weight == nullptr) continue;
    for (int64_t j = 0; j < args.taps; ++j)
      args.d_weight[channel * args.taps + j] += delta[t] * u(t - kept + j);
  }
  for (int64_t s = 0; s < args.tokens; ++s) {
    float sum = 0;
    for (int64_t j = std::max<int64_t>(0, s + kept + 1 - args.tokens); j < args.taps; ++j)
      sum += w[j] * delta[s + kept - j];
    args.du[first + s * args.channels] = sum;
  }
}

}  // namespace

void causal_conv1d_silu_backward(const CausalConv1dBackwardArgs& args, const OpContext& context) {
  Workspace::Scope scope(context.workspace);
  const auto delta = scope.take<float>(static_cast<size_t>(args.tokens));
  for (int64_t sequence = 0; sequence < args.sequences; ++sequence)
    for (int64_t channel = 0; channel < args.channels; ++channel)
      channel_backward(args, sequence, channel, delta.data());
}

}  // namespace qround::ops::ref
