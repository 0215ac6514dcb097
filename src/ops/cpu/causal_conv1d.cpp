#include "ops/causal_conv1d.h"

#include <algorithm>

#include "base/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/causal_conv1d.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Row `t` of the inputs, where negative times lie in the history.
HWY_INLINE const float* row_at(const CausalConv1dArgs& args, int64_t t) {
  return t >= 0 ? args.u + t * args.channels : args.history + (args.taps - 1 + t) * args.channels;
}

// Channels [begin, end) of all tokens. taps_first [taps, end - begin]: the weight with a tap's
// channels side by side.
HWY_ATTR void convolve(const CausalConv1dArgs& args, int64_t begin, int64_t end,
                       float* taps_first) {
  const int64_t width = end - begin, kept = args.taps - 1;
  for (int64_t c = 0; c < width; ++c)
    for (int64_t j = 0; j < args.taps; ++j)
      taps_first[j * width + c] = args.weight[(begin + c) * args.taps + j];
  for (int64_t t = 0; t < args.tokens; ++t)
    for_each_vector(width, [&](auto d, int64_t c) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (int64_t j = 0; j < args.taps; ++j)
        sum = hn::MulAdd(hn::LoadU(d, taps_first + j * width + c),
                         hn::LoadU(d, row_at(args, t - kept + j) + begin + c), sum);
      hn::StoreU(silu(d, sum), d, args.out + t * args.channels + begin + c);
    });
  // Oldest first: every row is read before its place is overwritten.
  for (int64_t i = 0; i < kept; ++i) {
    const float* from = row_at(args, args.tokens - kept + i) + begin;
    std::copy(from, from + width, args.history + i * args.channels + begin);
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(convolve);

constexpr int64_t kBlockChannels = 256;  // 1 KiB of each row: whole cache lines, few streams

}  // namespace

void causal_conv1d_silu(const CausalConv1dArgs& args, const OpContext& context) {
  if (args.tokens == 0) return;
  // One block after the other on one thread while the tokens are few: the work is small then.
  const int64_t n_blocks = (args.channels + kBlockChannels - 1) / kBlockChannels;
  const int64_t blocks_per_task = std::max<int64_t>(1, 16 / args.tokens);
  const auto taps_floats = static_cast<size_t>(args.taps * kBlockChannels);
  Workspace::Scope scope(context.workspace);
  const auto scratch = scope.take<float>(taps_floats * static_cast<size_t>(context.threads.count));
  const auto kernel = HWY_DYNAMIC_DISPATCH(convolve);
  const int64_t n_tasks = (n_blocks + blocks_per_task - 1) / blocks_per_task;
  parallel_for(context.threads, static_cast<size_t>(n_tasks), [&](size_t task, int worker) {
    float* taps_first = scratch.data() + taps_floats * static_cast<size_t>(worker);
    const int64_t first = static_cast<int64_t>(task) * blocks_per_task;
    for (int64_t block = first; block < std::min(n_blocks, first + blocks_per_task); ++block) {
      const int64_t begin = block * kBlockChannels;
      kernel(args, begin, std::min(args.channels, begin + kBlockChannels), taps_first);
    }
  });
}

}  // namespace qround::ops::cpu
#endif
