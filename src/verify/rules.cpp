#include "verify/rules.h"

namespace qround::verify {
namespace {

constexpr Rule kRules[] = {
    {"config-values", Severity::error, "all",
     "config.json describes the format: auto-round, 4 bits, symmetric, group size 32, 64 or 128, "
     "packing auto_round:auto_gptq, block names, overrides with integer bits",
     false, check_config_values},
    {"configs-equal", Severity::error, "tools that read quantization_config.json",
     "quantization_config.json holds the same object as config.json, and no other file claims to "
     "describe a quantization",
     false, check_configs_equal},
    {"index", Severity::error, "all",
     "the index lists every tensor once, in the shard that holds it", false, check_index},
    {"index-details", Severity::warning, "tools that trust the index, mlx-lm",
     "total_size is the sum of all tensors, and every shard's name begins with \"model\"", false,
     check_index_details},
    {"tensor-set", Severity::error, "all",
     "the tensors are those of the network, and of the source, with qweight, qzeros and scales in "
     "place of each quantized weight; nothing is missing, twice or unknown",
     false, check_tensor_set},
    {"dtypes-shapes", Severity::error, "all",
     "every tensor has the shape config.json asks for; qweight and qzeros are I32, scales F16, all "
     "others as in the source",
     false, check_dtypes_and_shapes},
    {"config-matches-tensors", Severity::error, "all",
     "config.json resolves every linear map to the form it has in the file", false,
     check_config_matches_tensors},
    {"zeros", Severity::error, "transformers, SGLang on a CPU",
     "every word of qzeros is 0x77777777: zero point 8, stored minus one", false, check_zeros},
    {"scales", Severity::error, "all", "every scale is finite and at least 1e-5 in magnitude",
     false, check_scales},
    {"kept-identical", Severity::error, "all",
     "tensors that are not quantized equal the source's byte for byte", true, check_kept_tensors},
    {"rounding", Severity::error, "all",
     "each dequantized weight lies within half a scale of the source's weight; where the code is 7 "
     "the weight may be larger, up to the group's extreme",
     true, check_rounding},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

}  // namespace qround::verify
