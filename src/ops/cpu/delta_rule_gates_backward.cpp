#include <cmath>

#include "ops/cpu/row_blocks.h"
#include "ops/gated_delta_rule.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/delta_rule_gates_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void gate_tokens(const DeltaRuleGatesBackwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const int64_t row = t * args.value_heads;
    for_each_vector(args.value_heads, [&](auto d, int64_t head) HWY_ATTR {
      const auto one = hn::Set(d, 1.0f);
      const auto rate = hn::Neg(exponential(d, hn::LoadU(d, args.a_log + head)));
      const auto x = hn::Add(hn::LoadU(d, args.a + row + head), hn::LoadU(d, args.dt_bias + head));
      const auto d_step = hn::Mul(hn::LoadU(d, args.d_log_decay + row + head), rate);
      const auto beta = sigmoid(d, hn::LoadU(d, args.b + row + head));
      const auto slope = hn::Mul(beta, hn::Sub(one, beta));
      const auto db = hn::Mul(hn::LoadU(d, args.d_beta + row + head), slope);
      hn::StoreU(hn::Mul(d_step, sigmoid(d, x)), d, args.da + row + head);
      hn::StoreU(db, d, args.db + row + head);
    });
  }
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(gate_tokens);

float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// Sums over the tokens, which tuning leaves out: plain loops.
void add_to_head_gradients(const DeltaRuleGatesBackwardArgs& args) {
  if (args.d_a_log == nullptr && args.d_dt_bias == nullptr) return;
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t head = 0; head < args.value_heads; ++head) {
      const int64_t i = t * args.value_heads + head;
      const float x = args.a[i] + args.dt_bias[head];
      const float d_step = -std::exp(args.a_log[head]) * args.d_log_decay[i];
      if (args.d_a_log != nullptr) args.d_a_log[head] += d_step * softplus(x);
      if (args.d_dt_bias != nullptr) args.d_dt_bias[head] += d_step / (1.0f + std::exp(-x));
    }
}

}  // namespace

void delta_rule_gates_backward(const DeltaRuleGatesBackwardArgs& args, const OpContext& context) {
  add_to_head_gradients(args);  // before da takes the place of what it reads
  for_row_blocks(context.threads, args.tokens, args.value_heads, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(gate_tokens)(args, begin, end);
  });
}

}  // namespace qround::ops::cpu
#endif
