// How quantization_config names the int4 maps of a network, such that vLLM, SGLang and transformers
// with auto-round resolve every module to the form it has in the file.
//
//   - block_name_to_quantize names the blocks that hold int4 maps; nothing outside them is int4
//   - extra_config names every kept linear map inside these blocks, and with maps that engines fuse
//     the fused name too (in_proj_ba, shared_expert.gate_up_proj, mlp.experts)
//   - an MTP head kept whole is exempted by a regular expression and once more by `dynamic`
#pragma once

#include <functional>

#include "checkpoint/quantization_config.h"
#include "model/tensor_table.h"

namespace qround {

enum class Fate { absent, kept, int4 };

// Sets block_names, extra_config and dynamic; leaves the other members.
void name_modules(const TensorTable& table, const std::function<Fate(const Parameter&)>& fate_of,
                  QuantizationConfig& config);

}  // namespace qround
