#include "ops/cpu/row_blocks.h"
#include "ops/gating.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/gating_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void swiglu_gradients(const SwigluBackwardArgs& args, int64_t begin, int64_t end) {
  for_each_vector(end - begin, [&](auto d, int64_t i) HWY_ATTR {
    i += begin;
    const auto gate = hn::LoadU(d, args.gate + i), d_out = hn::LoadU(d, args.d_out + i);
    const auto s = sigmoid(d, gate), activated = hn::Mul(gate, s);
    // silu' = s (1 + gate (1 - s)) = s + activated (1 - s)
    const auto slope = hn::MulAdd(activated, hn::Sub(hn::Set(d, 1.0f), s), s);
    const auto d_gate = hn::Mul(hn::Mul(d_out, hn::LoadU(d, args.up + i)), slope);
    hn::StoreU(hn::Mul(d_out, activated), d, args.d_up + i);
    hn::StoreU(d_gate, d, args.d_gate + i);
  });
}

// A gate for every element.
HWY_ATTR void gate_gradients(const SigmoidGateBackwardArgs& args, int64_t begin, int64_t end) {
  for_each_vector(end - begin, [&](auto d, int64_t i) HWY_ATTR {
    i += begin;
    const auto s = sigmoid(d, hn::LoadU(d, args.gate + i));
    const auto dx = hn::Mul(hn::LoadU(d, args.d_out + i), s);
    const auto change = hn::Mul(dx, hn::LoadU(d, args.x + i));
    hn::StoreU(dx, d, args.dx + i);
    hn::StoreU(hn::Mul(change, hn::Sub(hn::Set(d, 1.0f), s)), d, args.d_gate + i);
  });
}

// One gate for the row.
HWY_ATTR void gate_row_gradients(const SigmoidGateBackwardArgs& args, int64_t row) {
  const float* x = args.x + row * args.width;
  const float* d_out = args.d_out + row * args.width;
  float* dx = args.dx + row * args.width;
  const float s = hn::GetLane(sigmoid(OneF32(), hn::Set(OneF32(), args.gate[row])));
  const float sum = sum_of_vectors(args.width, [&](auto d, int64_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(d, d_out + i), hn::LoadU(d, x + i));
  });
  args.d_gate[row] = sum * s * (1.0f - s);
  for_each_vector(args.width, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, d_out + i), hn::Set(d, s)), d, dx + i);
  });
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(swiglu_gradients);
HWY_EXPORT(gate_gradients);
HWY_EXPORT(gate_row_gradients);
}  // namespace

void swiglu_backward(const SwigluBackwardArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.count, 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_gradients)(args, begin, end);
  });
}

void sigmoid_gate_backward(const SigmoidGateBackwardArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.rows, args.width, [&](int64_t begin, int64_t end) {
    if (args.gate_width != 1)
      HWY_DYNAMIC_DISPATCH(gate_gradients)(args, begin * args.width, end * args.width);
    else
      for (int64_t row = begin; row < end; ++row)
        HWY_DYNAMIC_DISPATCH(gate_row_gradients)(args, row);
  });
}

}  // namespace qround::ops::cpu
#endif
