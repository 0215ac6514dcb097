#include "verify/name_resolution.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_set>

namespace qround::verify {
namespace {

// A fused module's own part of its name, and what stands there in the names of its shards.
struct Fusion {
  std::string_view fused;
  std::vector<std::string_view> shards;
};

const std::vector<Fusion> kAttentionAndMlp = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                              {"gate_up_proj", {"gate_proj", "up_proj"}}};
const std::vector<Fusion> kSglangFusions = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                            {"gate_up_proj", {"gate_proj", "up_proj"}},
                                            {"in_proj_qkvz", {"in_proj_qkv", "in_proj_z"}},
                                            {"in_proj_ba", {"in_proj_b", "in_proj_a"}}};
// With a vision tower "qkv" stands among them, which is part of "in_proj_qkvz" too.
const std::vector<Fusion> kVllmFusions = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                          {"gate_up_proj", {"gate_proj", "up_proj"}},
                                          {"qkv", {"qkv"}},
                                          {"in_proj_qkvz", {"in_proj_qkv", "in_proj_z"}},
                                          {"in_proj_ba", {"in_proj_b", "in_proj_a"}}};

// Names of the shards; empty unless `fused` stands in the name exactly once.
std::vector<std::string> shard_names(const std::string& name, const Fusion& fusion) {
  const size_t at = name.find(fusion.fused);
  if (at == std::string::npos || name.find(fusion.fused, at + 1) != std::string::npos) return {};
  std::vector<std::string> names;
  for (const std::string_view shard : fusion.shards)
    names.push_back(std::string(name).replace(at, fusion.fused.size(), shard));
  return names;
}

bool starts_with_a_block(const QuantizationNames& names, const std::string& name) {
  return std::any_of(names.blocks->begin(), names.blocks->end(),
                     [&](const std::string& block) { return name.starts_with(block); });
}

std::string disagreement(std::string_view what, const std::string& name,
                         const std::vector<std::string>& shards) {
  if (shards.empty())
    return fmt::format("ValueError: {} '{}' requires consistent quant config for all sub-layers",
                       what, name);
  return fmt::format("ValueError: {} '{}' requires consistent quant config for {}", what, name,
                     shards);
}

// What vLLM's and SGLang's resolution share.
class ServerResolver {
 public:
  using Match = bool (NamePattern::*)(std::string_view) const;

  ServerResolver(const QuantizationNames& names, Match match) : names_(names), match_(match) {}

  Settings of_default(bool inside) const {
    if (!inside) return {16, -1, true};
    return {names_.bits, names_.group_size, names_.sym};
  }

  Settings of_entry(const NameOverride& entry, bool inside) const {
    const Settings base = of_default(inside);
    return {entry.bits.value_or(base.bits), entry.group_size.value_or(base.group_size),
            entry.sym.value_or(base.sym)};
  }

  // An exact key, else the first expression that matches; nullptr: none.
  const NameOverride* entry_of(const std::string& name) const {
    if (const NameOverride* exact = names_.find(name)) return exact;
    for (const NameOverride& entry : names_.overrides()) {
      if (entry.is_expression && (entry.pattern.*match_)(name)) return &entry;
    }
    return nullptr;
  }

  Settings of_name(const std::string& name, bool inside) const {
    const NameOverride* entry = entry_of(name);
    return entry == nullptr ? of_default(inside) : of_entry(*entry, inside);
  }

  bool is_inside(const RuntimeModule& module) const {
    if (names_.blocks) return starts_with_a_block(names_, module.name);
    return module.kind != ModuleKind::lm_head;
  }

  // Keys below the name of an experts module decide for all of it; nullopt: there are none.
  std::optional<Resolution> of_expert_keys(const RuntimeModule& module, bool inside) const {
    std::optional<Settings> common;
    for (const NameOverride& entry : names_.overrides()) {
      if (!entry.key.starts_with(module.name)) continue;
      const Settings settings = of_name(entry.key, inside);
      if (common && *common != settings)
        return Resolution{{}, disagreement("Fused MoE layer", module.name, {})};
      common = settings;
    }
    if (!common) return std::nullopt;
    return Resolution{*common, {}};
  }

  // nullopt: no fusion says anything about the module.
  std::optional<Resolution> of_shards(const std::string& name, std::span<const Fusion> fusions,
                                      bool always, bool inside) const {
    for (const Fusion& fusion : fusions) {
      const std::vector<std::string> shards = shard_names(name, fusion);
      if (shards.empty()) continue;
      const bool named = std::any_of(shards.begin(), shards.end(), [&](const std::string& shard) {
        return entry_of(shard) != nullptr;
      });
      if (!always && !named) continue;
      const Settings first = of_name(shards.front(), inside);
      for (const std::string& shard : shards) {
        if (of_name(shard, inside) != first)
          return Resolution{{}, disagreement("Fused module", name, shards)};
      }
      return Resolution{first, {}};
    }
    return std::nullopt;
  }

 private:
  const QuantizationNames& names_;
  Match match_;
};

bool exempts_mtp_layers(const QuantizationNames& names) {
  return std::any_of(names.dynamic.begin(), names.dynamic.end(), [](const DynamicRule& rule) {
    return rule.skips && rule.expression.find("mtp") != std::string::npos;
  });
}

}  // namespace

Resolution resolve_vllm(const QuantizationNames& names, const Release& release,
                        const RuntimeModule& module) {
  constexpr Settings kKept = {16, -1, true};
  const bool mtp = module.first().part == Part::mtp;
  if (!module.may_be_quantized) return {kKept, {}};
  if (mtp && module.first().block >= 0 && release.dynamic_exempts_mtp && exempts_mtp_layers(names))
    return {kKept, {}};
  for (const std::string& key : {module.name, "model." + module.name}) {
    const NameOverride* entry = names.find(key);
    if (entry != nullptr && entry->bits.value_or(16) >= 16) return {kKept, {}};
  }
  const ServerResolver resolver(names, &NamePattern::search);
  if (const NameOverride* entry = names.find(module.name))
    return {resolver.of_entry(*entry, true), {}};
  if (release.short_keys) {
    for (const NameOverride& entry : names.overrides()) {
      if (module.name.ends_with("." + entry.key)) return {resolver.of_entry(entry, true), {}};
    }
  }
  const bool inside = resolver.is_inside(module);
  if (names.overrides().empty()) return {resolver.of_default(inside), {}};
  if (release.expert_keys_decide && module.kind == ModuleKind::experts) {
    if (const auto found = resolver.of_expert_keys(module, inside)) return *found;
  }
  const auto& fusions = mtp ? kAttentionAndMlp : kVllmFusions;
  const auto found = resolver.of_shards(module.name, fusions, release.fused_names_always, inside);
  return found ? *found : Resolution{resolver.of_name(module.name, inside), {}};
}

Resolution resolve_sglang(const QuantizationNames& names, const RuntimeModule& module) {
  if (!module.may_be_quantized) return {{16, -1, true}, {}};
  const ServerResolver resolver(names, &NamePattern::full_match);
  if (const NameOverride* entry = names.find(module.name))
    return {resolver.of_entry(*entry, true), {}};
  const bool inside = resolver.is_inside(module);
  if (names.overrides().empty()) return {resolver.of_default(inside), {}};
  if (module.kind == ModuleKind::experts) {
    if (const auto found = resolver.of_expert_keys(module, inside)) return *found;
  }
  const auto found = resolver.of_shards(module.name, kSglangFusions, true, inside);
  return found ? *found : Resolution{resolver.of_name(module.name, inside), {}};
}

namespace {

// Writes `settings` for the modules the expression finds: among `inside` if it finds any there,
// else among all.
void expand(const NamePattern& pattern, const std::vector<const std::string*>& inside,
            const std::vector<const std::string*>& all, const Settings& settings,
            std::unordered_map<std::string, Settings>& of_module) {
  for (const auto* candidates : {&inside, &all}) {
    bool found = false;
    for (const std::string* name : *candidates) {
      if (!pattern.search(*name)) continue;
      found = true;
      of_module.emplace(*name, settings);  // an earlier key wins
    }
    if (found) return;
  }
}

}  // namespace

TransformersResolution resolve_transformers(const QuantizationNames& names,
                                            const std::vector<RuntimeModule>& modules) {
  std::vector<const std::string*> inside, all;
  std::unordered_set<std::string> known, others;  // Linear modules, and those that are none
  for (const RuntimeModule& module : modules) {
    if (!module.may_be_quantized) {
      others.insert(module.name);
      continue;
    }
    all.push_back(&module.name);
    known.insert(module.name);
    // Without a list, blocks are searched for and found in the vision tower too.
    const bool starts =
        names.blocks ? starts_with_a_block(names, module.name) : module.first().block >= 0;
    if (starts) inside.push_back(&module.name);
  }
  const Settings base{names.bits, names.group_size, names.sym};
  TransformersResolution result;
  std::unordered_map<std::string, Settings> entries;
  const auto settings_of = [&](const NameOverride& entry) {
    return Settings{entry.bits.value_or(base.bits), entry.group_size.value_or(base.group_size),
                    entry.sym.value_or(base.sym)};
  };
  for (const NameOverride& entry : names.overrides())
    entries.emplace(entry.key, settings_of(entry));
  for (const DynamicRule& rule : names.dynamic) {
    if (rule.skips) expand(NamePattern(rule.expression), inside, all, {16, -1, true}, entries);
  }
  for (const NameOverride& entry : names.overrides()) {
    if (!known.contains(entry.key) && !entry.empty)
      expand(entry.pattern, inside, all, settings_of(entry), entries);
  }
  for (const std::string* name : inside) result.of_module.emplace(*name, base);
  for (const auto& [name, settings] : entries) {
    if (known.contains(name)) {
      result.of_module.insert_or_assign(name, settings);
    } else if (settings.bits <= 8 && !others.contains(name) && result.refusal.empty()) {
      result.refusal = fmt::format("AttributeError: the model has no module '{}'", name);
    }
  }
  return result;
}

}  // namespace qround::verify
