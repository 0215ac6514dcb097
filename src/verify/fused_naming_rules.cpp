// How quantization_config names modules that engines fuse: q, k and v; gate and up; experts.
#include <fmt/format.h>

#include <map>

#include "verify/name_resolution.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

bool names_modules(const Subject& subject) {
  return !subject.quantization.is_null() && !subject.is_gptq();
}

// Fused modules of the file's names with their maps, without those of experts.
std::vector<RuntimeModule> fused_linears(const Subject& subject) {
  std::vector<RuntimeModule> fused;
  for (RuntimeModule& module : runtime_modules(Reader::sglang, subject.table)) {
    if (module.kind == ModuleKind::linear && module.shards.size() > 1)
      fused.push_back(std::move(module));
  }
  return fused;
}

// Whether a key names the module, or an expression is found in its name.
bool is_named(const QuantizationNames& names, const std::string& name) {
  if (names.find(name) != nullptr) return true;
  for (const NameOverride& entry : names.overrides()) {
    if (entry.is_expression && entry.pattern.search(name)) return true;
  }
  return false;
}

bool is_inside(const QuantizationNames& names, const std::string& name) {
  if (!names.blocks) return true;
  for (const std::string& block : *names.blocks) {
    if (name.starts_with(block)) return true;
  }
  return false;
}

// Keys of extra_config that name single experts, by the module of all of them.
struct ExpertKeys {
  int64_t count = 0, n_maps = 0;
  bool unequal = false;
  std::string first;
};

std::map<std::string, ExpertKeys> expert_keys(const Subject& subject) {
  std::map<std::string, ExpertKeys> layers;
  for (const RuntimeModule& module : runtime_modules(Reader::sglang, subject.table)) {
    if (module.kind != ModuleKind::experts) continue;
    ExpertKeys keys;
    keys.n_maps = static_cast<int64_t>(module.shards.size());
    std::optional<std::optional<int64_t>> bits;
    for (const Parameter* p : module.shards) {
      const NameOverride* entry = subject.names.find(p->module);
      if (entry == nullptr) continue;
      if (keys.count++ == 0) keys.first = entry->key;
      if (bits && *bits != entry->bits) keys.unequal = true;
      bits = entry->bits;
    }
    if (keys.count > 0) layers.emplace(module.name, keys);
  }
  return layers;
}

}  // namespace

void check_fused_shards(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const RuntimeModule& module : fused_linears(subject)) {
    size_t n_named = 0;
    const Parameter* missing = nullptr;
    for (const Parameter* p : module.shards) {
      if (is_named(subject.names, p->module)) {
        ++n_named;
      } else if (missing == nullptr) {
        missing = p;
      }
    }
    if (n_named == 0 || missing == nullptr) continue;
    findings.add({module.name, "extra_config names some maps of a fused module, but not all",
                  missing->module, "absent"});
  }
}

void check_fused_names(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const RuntimeModule& module : fused_linears(subject)) {
    if (!is_inside(subject.names, module.name) || is_named(subject.names, module.name)) continue;
    bool kept = true;
    for (const Parameter* p : module.shards) {
      const Form form = subject.form_of(*p);
      kept &= form == Form::dense && is_named(subject.names, p->module);
    }
    if (kept)
      findings.add({module.name, "the maps are kept, but the fused name is not listed", module.name,
                    "absent"});
  }
}

void check_expert_keys(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const auto& [module, keys] : expert_keys(subject)) {
    if (keys.count == keys.n_maps && !keys.unequal) continue;
    findings.add({module, "keys of single experts decide for the whole layer",
                  fmt::format("none, or the same bits for all {} maps", keys.n_maps),
                  keys.unequal ? "unequal bits, first at " + keys.first
                               : fmt::format("{} keys, first {}", keys.count, keys.first)});
  }
}

void check_complete_expert_keys(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const auto& [module, keys] : expert_keys(subject)) {
    if (keys.count == keys.n_maps && !keys.unequal && is_inside(subject.names, module))
      findings.add({module, "keys of single experts are ignored by newer vLLM", module,
                    fmt::format("{} keys", keys.count)});
  }
}

}  // namespace qround::verify
