#include "ops/cpu/row_blocks.h"
#include "ops/gated_delta_rule.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/delta_rule_gates.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Tag, class V>
HWY_INLINE V softplus(Tag d, V x) {
  const V limit = hn::Set(d, 20.0f);
  const V curved = hn::Log1p(d, exponential(d, hn::Min(x, limit)));
  return hn::IfThenElse(hn::Gt(x, limit), x, curved);
}

HWY_ATTR void delta_rule_gates(const DeltaRuleGateArgs& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const int64_t row = t * args.value_heads;
    for_each_vector(args.value_heads, [&](auto d, int64_t head) HWY_ATTR {
      const auto rate = hn::Neg(exponential(d, hn::LoadU(d, args.a_log + head)));
      const auto step =
          hn::Add(hn::LoadU(d, args.a + row + head), hn::LoadU(d, args.dt_bias + head));
      hn::StoreU(hn::Mul(rate, softplus(d, step)), d, args.log_decay + row + head);
      hn::StoreU(sigmoid(d, hn::LoadU(d, args.b + row + head)), d, args.beta + row + head);
    });
  }
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(delta_rule_gates);
}

void delta_rule_gates(const DeltaRuleGateArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.tokens, args.value_heads, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(delta_rule_gates)(args, begin, end);
  });
}

}  // namespace qround::ops::cpu
#endif
