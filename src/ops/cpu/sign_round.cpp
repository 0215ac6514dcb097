// A group is read twice: for its range, then for its codes or steps; the second time it lies in L1.
// The quotient w / s is a true division, as in quantize_rtn: a product with 1 / s moves codes that
// lie halfway. Tested by tests/ops/sign_round_test.cpp against ref.
#include "ops/sign_round.h"

#include <cmath>

#include "ops/sign_round_scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/sign_round.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/bf16_round-inl.h"
#include "ops/cpu/f32_vector-inl.h"
#include "ops/cpu/weight_load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct Group {
  int64_t first = 0;  // element of [N, K]
  int64_t idx = 0;    // of [N, K / G]
  GroupRange range;
  float scale = 0;
};

template <class Element>
HWY_ATTR GroupRange group_range(const Element* w, int64_t size) {
  const F32 d;
  auto low = hn::Zero(d), high = hn::Zero(d);
  for (int64_t k = 0; k < size; k += kLanes) {
    const auto values = load_f32(d, w + k);
    low = hn::Min(low, values);
    high = hn::Max(high, values);
  }
  return {hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high))};
}

// v in codes.
HWY_INLINE F32Vector load_v(F32 d, const int16_t* v, float unit) {
  const hn::Rebind<int32_t, F32> integers;
  const hn::Rebind<int16_t, F32> shorts;
  return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(shorts, v))), hn::Set(d, unit));
}

HWY_INLINE void store_values(F32 d, F32Vector values, const SignRoundResult& result,
                             int64_t index) {
  if (result.dtype == DType::bf16) {
    const hn::Rebind<hwy::bfloat16_t, F32> halves;
    hn::StoreU(hn::DemoteTo(halves, hn::BitCast(d, round_to_bf16(d, values))), halves,
               static_cast<hwy::bfloat16_t*>(result.values) + index);
  } else {
    hn::StoreU(values, d, static_cast<float*>(result.values) + index);
  }
}

template <class Element>
HWY_ATTR void round_group(const Element* w, const SignRoundRule& rule, const SignRoundRows& rows,
                          const Group& group, const SignRoundResult& result) {
  const F32 d;
  const hn::Rebind<int32_t, F32> integers;
  const hn::Rebind<uint8_t, F32> bytes;
  const auto s = hn::Set(d, group.scale);
  const auto lowest = hn::Set(d, float{kLowestCode}), highest = hn::Set(d, float{kHighestCode});
  for (int64_t k = group.first; k < group.first + rows.group_size; k += kLanes) {
    const auto n = hn::Add(hn::Div(load_f32(d, w + k), s), load_v(d, rows.v + k, rule.v_unit));
    // Adding zero turns -0 into +0, as the definition has it.
    const auto code = hn::Add(hn::Round(hn::Clamp(n, lowest, highest)), hn::Zero(d));
    if (result.codes != nullptr) {
      const auto stored = hn::Add(hn::ConvertTo(integers, code), hn::Set(integers, -kLowestCode));
      hn::StoreU(hn::DemoteTo(bytes, stored), bytes, result.codes + k);
    }
    if (result.values != nullptr) store_values(d, hn::Mul(s, code), result, k);
  }
}

// The part of dL/ds made of codes, and the part made of weights.
struct ScaleGradient {
  float a = 0, b = 0;
};

template <class Element>
HWY_ATTR ScaleGradient step_group(const Element* w, const SignRoundRule& rule,
                                  const SignRoundRows& rows, const Group& group,
                                  const SignRoundStep& step) {
  const F32 d;
  const hn::Rebind<int32_t, F32> integers;
  const hn::Rebind<int16_t, F32> shorts;
  const auto s = hn::Set(d, group.scale), sign = hn::Set(d, std::copysign(1.0f, group.scale));
  const auto zero = hn::Zero(d);
  const auto lowest = hn::Set(d, float{kLowestCode}), highest = hn::Set(d, float{kHighestCode});
  const auto units = hn::Set(d, static_cast<float>(step.sizes.v_units));
  auto a = zero, b = zero;
  for (int64_t k = group.first; k < group.first + rows.group_size; k += kLanes) {
    const auto gradient = hn::LoadU(d, step.gradient + k);
    const auto ratio = hn::Div(load_f32(d, w + k), s);
    const auto n = hn::Round(hn::Add(ratio, load_v(d, rows.v + k, rule.v_unit)));
    const auto inside = rule.clamp == ClampRule::open
                            ? hn::And(hn::Gt(n, lowest), hn::Lt(n, highest))
                            : hn::And(hn::Ge(n, lowest), hn::Le(n, highest));
    a = hn::MulAdd(gradient, hn::Clamp(n, lowest, highest), a);
    b = hn::NegMulAdd(hn::IfThenElseZero(inside, gradient), ratio, b);
    // Against the sign of D * s; no step where D is zero or no number.
    const auto product = hn::Mul(gradient, sign);
    auto up = hn::And(inside, hn::Lt(product, zero)), down = hn::And(inside, hn::Gt(product, zero));
    if (rule.clamp == ClampRule::inward) {
      up = hn::And(up, hn::Lt(n, highest));
      down = hn::And(down, hn::Gt(n, lowest));
    }
    const auto change = hn::Sub(hn::IfThenElseZero(up, units), hn::IfThenElseZero(down, units));
    const auto old = hn::PromoteTo(integers, hn::LoadU(shorts, rows.v + k));
    const auto moved = hn::Add(old, hn::ConvertTo(integers, change));
    hn::StoreU(hn::DemoteTo(shorts, moved), shorts, rows.v + k);
  }
  return {hn::GetLane(hn::SumOfLanes(d, a)), hn::GetLane(hn::SumOfLanes(d, b))};
}

template <class Element, class Use>
HWY_INLINE void for_each_group(const Element* w, int64_t k, const SignRoundRule& rule,
                               const SignRoundRows& rows, const Use& use) {
  for (int64_t first = rows.begin * k; first < rows.end * k; first += rows.group_size) {
    Group group{first, first / rows.group_size, group_range(w + first, rows.group_size), 0};
    group.scale = f16_to_f32(
        sign_round_scale(group.range, rows.alpha[group.idx], rows.beta[group.idx], rule));
    use(group);
  }
}

HWY_ATTR void sign_round(const DenseWeight& weight, const SignRoundRule& rule,
                         const SignRoundRows& rows, const SignRoundResult& result) {
  with_elements(weight.dtype, weight.data, [&](const auto* w) HWY_ATTR {
    for_each_group(w, weight.k, rule, rows, [&](const Group& group) HWY_ATTR {
      if (result.scales != nullptr) result.scales[group.idx] = f32_to_f16(group.scale);
      round_group(w, rule, rows, group, result);
    });
  });
}

HWY_ATTR void sign_round_step(const DenseWeight& weight, const SignRoundRule& rule,
                              const SignRoundRows& rows, const SignRoundStep& step) {
  // From here on gradients are addressed as [N, K] like everything else.
  SignRoundStep whole = step;
  whole.gradient -= rows.begin * weight.k;
  with_elements(weight.dtype, weight.data, [&](const auto* w) HWY_ATTR {
    for_each_group(w, weight.k, rule, rows, [&](const Group& group) HWY_ATTR {
      const ScaleGradient gradient = step_group(w, rule, rows, group, whole);
      step_factors(group.range, scale_gradient(gradient.a, gradient.b, rule), rule,
                   step.sizes.factor_step, rows.alpha[group.idx], rows.beta[group.idx]);
    });
  });
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(sign_round);
HWY_EXPORT(sign_round_step);
}  // namespace

void sign_round(const DenseWeight& weight, const SignRoundRule& rule, const SignRoundRows& rows,
                const SignRoundResult& result, const OpContext&) {
  HWY_DYNAMIC_DISPATCH(sign_round)(weight, rule, rows, result);
}

void sign_round_step(const DenseWeight& weight, const SignRoundRule& rule,
                     const SignRoundRows& rows, const SignRoundStep& step, const OpContext&) {
  HWY_DYNAMIC_DISPATCH(sign_round_step)(weight, rule, rows, step);
}

}  // namespace qround::ops::cpu
#endif
