// Going through the tokens in order, token t gives δ_t = dout_t silu'(pre_t), which needs the
// inputs of t and the Kc - 1 tokens before it, and finishes du of token t - Kc + 1, whose input
// nobody reads any more: du may take the place of u.
#include <algorithm>

#include "base/threads.h"
#include "ops/causal_conv1d.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/causal_conv1d_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Channels [begin, end) of one sequence. scratch: three times Kc rows of end - begin values.
HWY_ATTR void backward_channels(const CausalConv1dBackwardArgs& args, int64_t sequence,
                                int64_t begin, int64_t end, float* scratch) {
  const int64_t width = end - begin, taps = args.taps, kept = taps - 1;
  const int64_t first = sequence * args.tokens * args.channels + begin;
  const bool with_weight = args.d_weight != nullptr;
  float* weight = scratch;               // a tap's channels side by side
  float* delta = weight + taps * width;  // δ of the last Kc tokens, token t at t % Kc
  float* d_weight = delta + taps * width;
  for (int64_t c = 0; c < width; ++c)
    for (int64_t j = 0; j < taps; ++j) weight[j * width + c] = args.weight[(begin + c) * taps + j];
  std::fill_n(delta, taps * width, 0.0f);
  std::fill_n(d_weight, taps * width, 0.0f);
  for (int64_t t = 0; t < args.tokens + kept; ++t) {
    float* newest = delta + t % taps * width;
    const int64_t first_tap = std::max<int64_t>(0, kept - t);
    if (t >= args.tokens) {
      std::fill_n(newest, width, 0.0f);
    } else {
      for_each_vector(width, [&](auto d, int64_t c) HWY_ATTR {
        auto pre = hn::Zero(d);
        for (int64_t j = first_tap; j < taps; ++j)
          pre = hn::MulAdd(hn::LoadU(d, weight + j * width + c),
                           hn::LoadU(d, args.u + first + (t - kept + j) * args.channels + c), pre);
        const auto s = sigmoid(d, pre);
        const auto slope = hn::MulAdd(hn::Mul(pre, s), hn::Sub(hn::Set(d, 1.0f), s), s);
        const auto d_out = hn::LoadU(d, args.d_out + first + t * args.channels + c);
        hn::StoreU(hn::Mul(d_out, slope), d, newest + c);
      });
      for (int64_t j = first_tap; j < taps && with_weight; ++j)
        for_each_vector(width, [&](auto d, int64_t c) HWY_ATTR {
          const auto u = hn::LoadU(d, args.u + first + (t - kept + j) * args.channels + c);
          float* to = d_weight + j * width + c;
          hn::StoreU(hn::MulAdd(hn::LoadU(d, newest + c), u, hn::LoadU(d, to)), d, to);
        });
    }
    const int64_t finished = t - kept;
    if (finished < 0) continue;
    for_each_vector(width, [&](auto d, int64_t c) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (int64_t j = 0; j < taps; ++j)
        sum = hn::MulAdd(hn::LoadU(d, weight + j * width + c),
                         hn::LoadU(d, delta + (finished + kept - j) % taps * width + c), sum);
      hn::StoreU(sum, d, args.du + first + finished * args.channels + c);
    });
  }
  for (int64_t c = 0; c < width && with_weight; ++c)
    for (int64_t j = 0; j < taps; ++j)
      args.d_weight[(begin + c) * taps + j] += d_weight[j * width + c];
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(backward_channels);
constexpr int64_t kChannels = 128;  // of one task
}  // namespace

void causal_conv1d_silu_backward(const CausalConv1dBackwardArgs& args, const OpContext& context) {
  const int64_t blocks = (args.channels + kChannels - 1) / kChannels;
  const auto row_floats = static_cast<size_t>(args.taps * kChannels);
  Workspace::Scope scope(context.workspace);
  const auto scratch =
      scope.take<float>(3 * row_floats * static_cast<size_t>(context.threads.count));
  const auto run = [&](int64_t sequence, int64_t block, int worker) {
    float* of_worker = scratch.data() + 3 * row_floats * static_cast<size_t>(worker);
    const int64_t begin = block * kChannels;
    HWY_DYNAMIC_DISPATCH(backward_channels)
    (args, sequence, begin, std::min(args.channels, begin + kChannels), of_worker);
  };
  // The weight's gradient sums over sequences: they stay on one thread then, in their order.
  if (args.d_weight != nullptr) {
    parallel_for(context.threads, static_cast<size_t>(blocks), [&](size_t block, int worker) {
      for (int64_t sequence = 0; sequence < args.sequences; ++sequence)
        run(sequence, static_cast<int64_t>(block), worker);
    });
    return;
  }
  parallel_for(
      context.threads, static_cast<size_t>(args.sequences * blocks), [&](size_t index, int worker) {
        run(static_cast<int64_t>(index) / blocks, static_cast<int64_t>(index) % blocks, worker);
      });
}

}  // namespace qround::ops::cpu
#endif
