// The quantization_config of an exported checkpoint, such that vLLM, SGLang and transformers with
// auto-round resolve every module to the form it has in the file (model/quantization_naming.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "checkpoint/quantization_config.h"
#include "model/tensor_table.h"
#include "quant/policy.h"

namespace qround::quant {

// How codes and scales were found.
struct Rounding {
  enum class Way { nearest, searched, feedback, learned };
  Way way = Way::nearest;
  int64_t iterations = 0;  // of learned rounding

  std::string_view name() const;  // "nearest", "searched", "feedback", "learned"
};

QuantizationConfig export_config(const TensorTable& table, const std::vector<Decision>& decisions,
                                 const Scheme& scheme, const Rounding& rounding);

}  // namespace qround::quant
