// The quantization_config of an exported checkpoint, such that vLLM, SGLang and transformers with
// auto-round resolve every module to the form it has in the file.
//
//   - block_name_to_quantize names the blocks that hold int4 maps; nothing outside them is int4
//   - extra_config names every kept linear map inside these blocks, and with maps that engines fuse
//     the fused name too (in_proj_ba, shared_expert.gate_up_proj, mlp.experts)
//   - an MTP head kept whole is exempted by a regular expression and once more by `dynamic`
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
  enum class Way { nearest, searched, learned };
  Way way = Way::nearest;
  int64_t iterations = 0;  // of learned rounding

  std::string_view name() const;  // "nearest", "searched", "learned"
};

QuantizationConfig export_config(const TensorTable& table, const std::vector<Decision>& decisions,
                                 const Scheme& scheme, const Rounding& rounding);

}  // namespace qround::quant
