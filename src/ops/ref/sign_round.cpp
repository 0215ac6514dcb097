#include "ops/sign_round.h"

#include "ops/ref/sign_round_element.h"
#include "ops/ref/weight_value.h"
#include "ops/sign_round_scale.h"

namespace qround::ops::ref {
namespace {

// One group of W: inputs [first, first + G) of row n.
struct Group {
  int64_t n = 0, first = 0;
  int64_t idx = 0;  // in arrays [N, K / G]
  GroupRange range;
  float scale = 0;
};

Group group_at(const DenseWeight& weight, const SignRoundRule& rule, const SignRoundRows& rows,
               int64_t n, int64_t first) {
  Group group{n, first, (n * weight.k + first) / rows.group_size, {}, 0};
  for (int64_t k = first; k < first + rows.group_size; ++k) {
    const float w = weight_value(weight, n, k);
    group.range.low = std::min(group.range.low, w);
    group.range.high = std::max(group.range.high, w);
  }
  group.scale =
      f16_to_f32(sign_round_scale(group.range, rows.alpha[group.idx], rows.beta[group.idx], rule));
  return group;
}

template <typename Use>
void for_each_group(const DenseWeight& weight, const SignRoundRule& rule, const SignRoundRows& rows,
                    const Use& use) {
  for (int64_t n = rows.begin; n < rows.end; ++n) {
    for (int64_t first = 0; first < weight.k; first += rows.group_size)
      use(group_at(weight, rule, rows, n, first));
  }
}

void store_value(const SignRoundResult& result, int64_t index, float value) {
  if (result.dtype == DType::bf16) {
    static_cast<uint16_t*>(result.values)[index] = f32_to_bf16(value);
  } else {
    static_cast<float*>(result.values)[index] = value;
  }
}

}  // namespace

void sign_round(const DenseWeight& weight, const SignRoundRule& rule, const SignRoundRows& rows,
                const SignRoundResult& result, const OpContext&) {
  for_each_group(weight, rule, rows, [&](const Group& group) {
    if (result.scales != nullptr) result.scales[group.idx] = f32_to_f16(group.scale);
    for (int64_t k = group.first; k < group.first + rows.group_size; ++k) {
      const int64_t index = group.n * weight.k + k;
      const float v = static_cast<float>(rows.v[index]) * rule.v_unit;
      const int code = full_range_code(weight_value(weight, group.n, k), group.scale, v);
      if (result.codes != nullptr) result.codes[index] = static_cast<uint8_t>(code - kLowestCode);
      if (result.values != nullptr)
        store_value(result, index, group.scale * static_cast<float>(code));
    }
  });
}

void sign_round_step(const DenseWeight& weight, const SignRoundRule& rule,
                     const SignRoundRows& rows, const SignRoundStep& step, const OpContext&) {
  for_each_group(weight, rule, rows, [&](const Group& group) {
    ScaleGradient of_scale;
    for (int64_t k = group.first; k < group.first + rows.group_size; ++k) {
      const int64_t index = group.n * weight.k + k;
      const float v = static_cast<float>(rows.v[index]) * rule.v_unit;
      const float gradient = step.gradient[index - rows.begin * weight.k];
      const int direction = element_step(
          rule.clamp, {weight_value(weight, group.n, k), v, group.scale}, gradient, of_scale);
      rows.v[index] = static_cast<int16_t>(rows.v[index] + direction * step.sizes.v_units);
    }
    step_factors(group.range, scale_gradient(of_scale.a, of_scale.b, rule), rule,
                 step.sizes.factor_step, rows.alpha[group.idx], rows.beta[group.idx]);
  });
}

}  // namespace qround::ops::ref
