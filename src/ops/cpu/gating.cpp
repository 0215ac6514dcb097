#include "ops/gating.h"

#include "ops/cpu/row_blocks.h"
#include "ops/cpu/swiglu_values.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/gating.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void swiglu_values(const float* gate, const float* up, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto activated = silu(d, hn::LoadU(d, gate + i));
    hn::StoreU(hn::Mul(activated, hn::LoadU(d, up + i)), d, out + i);
  });
}

// x <- x * sigmoid(gate), elementwise.
HWY_ATTR void gate_values(float* x, const float* gate, int64_t count) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto factor = sigmoid(d, hn::LoadU(d, gate + i));
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), factor), d, x + i);
  });
}

// x <- x * sigmoid(gate) for one gate.
HWY_ATTR void gate_row(float* x, float gate, int64_t count) {
  const float factor = hn::GetLane(sigmoid(OneF32(), hn::Set(OneF32(), gate)));
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i);
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(swiglu_values);
HWY_EXPORT(gate_values);
HWY_EXPORT(gate_row);
}  // namespace

void swiglu_values(const float* gate, const float* up, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(swiglu_values)(gate, up, count, out);
}

void swiglu(const float* gate, const float* up, int64_t count, float* out,
            const OpContext& context) {
  for_row_blocks(context.threads, count, 1, [&](int64_t begin, int64_t end) {
    swiglu_values(gate + begin, up + begin, end - begin, out + begin);
  });
}

void sigmoid_gate(const SigmoidGateArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.rows, args.width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* x = args.x + row * args.width;
      const float* gate = args.gate + row * args.gate_width;
      if (args.gate_width == 1)
        HWY_DYNAMIC_DISPATCH(gate_row)(x, *gate, args.width);
      else
        HWY_DYNAMIC_DISPATCH(gate_values)(x, gate, args.width);
    }
  });
}

}  // namespace qround::ops::cpu
#endif
