#include "model/quantization_naming.h"

#include <algorithm>
#include <unordered_set>

namespace qround {
namespace {

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

void name_modules(const TensorTable& table, const std::function<Fate(const Parameter&)>& fate_of,
                  QuantizationConfig& config) {
  const auto any = [&](const auto& predicate) {
    return std::any_of(table.parameters().begin(), table.parameters().end(), predicate);
  };
  const bool names_mtp = any([](const Parameter& p) { return p.part == Part::mtp; });
  const bool mtp_int4 =
      any([&](const Parameter& p) { return p.part == Part::mtp && fate_of(p) == Fate::int4; });
  KeptList kept;
  for (const Parameter& p : table.parameters()) {
    const bool inside = (p.part == Part::text && p.block >= 0) || (p.part == Part::mtp && mtp_int4);
    if (!inside || !is_linear(p.role) || fate_of(p) != Fate::kept) continue;
    // Experts are one module to an engine: their entries would be hundreds.
    if (!is_expert(p.role)) kept.add(p.module);
    if (!p.runtime_group.empty()) kept.add(p.runtime_group);
  }
  config.block_names = {table.block_prefix(Part::text)};
  config.block_names_are_a_list = mtp_int4;
  config.dynamic.reset();
  if (mtp_int4) {
    config.block_names.push_back(table.block_prefix(Part::mtp));
  } else if (names_mtp) {
    kept.add(".*mtp.*");
    config.dynamic = Json::object({{"-:.*mtp.*", Json::object()}});
  }
  config.extra_config = kept.take();
}

}  // namespace qround
