#include "quant/export_config.h"

#include <algorithm>
#include <unordered_set>

namespace qround::quant {
namespace {

bool any_int4(const std::vector<Decision>& decisions, Part part) {
  return std::any_of(decisions.begin(), decisions.end(), [part](const Decision& decision) {
    return decision.int4 && decision.parameter->part == part;
  });
}

bool is_expert(Role role) {
  return role == Role::expert_gate || role == Role::expert_up || role == Role::expert_down;
}

class KeptList {
 public:
  // Every engine reads `bits`; other members would make the entries of fused maps unequal.
  void add(const std::string& module) {
    if (!seen_.insert(module).second) return;
    entries_.push_back({module, Json::object({{"bits", 16}, {"data_type", "fp"}})});
  }
  std::vector<ModuleOverride> take() { return std::move(entries_); }

 private:
  std::vector<ModuleOverride> entries_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

std::string_view Rounding::name() const {
  switch (way) {
    case Way::nearest:
      return "nearest";
    case Way::searched:
      return "searched";
    case Way::learned:
      return "learned";
  }
  return "";
}

QuantizationConfig export_config(const TensorTable& table, const std::vector<Decision>& decisions,
                                 const Scheme& scheme, const Rounding& rounding) {
  const bool mtp_int4 = any_int4(decisions, Part::mtp);
  const bool names_mtp =
      std::any_of(table.parameters().begin(), table.parameters().end(),
                  [](const Parameter& parameter) { return parameter.part == Part::mtp; });
  KeptList kept;
  for (const Decision& decision : decisions) {
    const Parameter& p = *decision.parameter;
    const bool inside = (p.part == Part::text && p.block >= 0) || (p.part == Part::mtp && mtp_int4);
    if (decision.int4 || !inside || !is_linear(p.role)) continue;
    // Experts are one module to an engine: their entries would be hundreds.
    if (!is_expert(p.role)) kept.add(p.module);
    if (!p.runtime_group.empty()) kept.add(p.runtime_group);
  }
  QuantizationConfig config;
  config.bits = Scheme::kBits;
  config.group_size = scheme.group_size;
  config.other.emplace_back("iters", rounding.iterations);
  if (rounding.way == Rounding::Way::searched) config.other.emplace_back("enable_opt_rtn", true);
  config.block_names.push_back(table.block_prefix(Part::text));
  if (mtp_int4) {
    config.block_names.push_back(table.block_prefix(Part::mtp));
    config.block_names_are_a_list = true;
  } else if (names_mtp) {
    kept.add(".*mtp.*");
    config.dynamic = Json::object({{"-:.*mtp.*", Json::object()}});
  }
  config.extra_config = kept.take();
  return config;
}

}  // namespace qround::quant
