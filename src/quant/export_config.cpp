#include "quant/export_config.h"

#include <unordered_map>

#include "model/quantization_naming.h"

namespace qround::quant {
std::string_view Rounding::name() const {
  switch (way) {
    case Way::nearest:
      return "nearest";
    case Way::searched:
      return "searched";
    case Way::feedback:
      return "feedback";
    case Way::learned:
      return "learned";
  }
  return "";
}

QuantizationConfig export_config(const TensorTable& table, const std::vector<Decision>& decisions,
                                 const Scheme& scheme, const Rounding& rounding) {
  std::unordered_map<const Parameter*, Fate> fates;
  for (const Decision& decision : decisions)
    fates.emplace(decision.parameter, decision.int4 ? Fate::int4 : Fate::kept);
  QuantizationConfig config;
  config.bits = Scheme::kBits;
  config.group_size = scheme.group_size;
  // 0 would say that every code is the nearest one.
  if (rounding.way != Rounding::Way::feedback)
    config.other.emplace_back("iters", rounding.iterations);
  if (rounding.way == Rounding::Way::searched) config.other.emplace_back("enable_opt_rtn", true);
  const auto fate_of = [&](const Parameter& p) {
    const auto found = fates.find(&p);
    return found == fates.end() ? Fate::absent : found->second;
  };
  name_modules(table, fate_of, config);
  return config;
}

}  // namespace qround::quant
