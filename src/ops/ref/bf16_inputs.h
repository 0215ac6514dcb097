// Operands of linear maps rounded to BF16, as Activations::bf16 has it.
#pragma once

#include <variant>

#include "base/half.h"
#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::ref {

inline bool reads_bf16_inputs(const Weight& weight, const OpContext& context) {
  const auto* dense = std::get_if<DenseWeight>(&weight);
  return context.activations != Activations::f32 && dense != nullptr && dense->dtype == DType::bf16;
}

inline float operand(float value, bool bf16) {
  return bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

}  // namespace qround::ops::ref
