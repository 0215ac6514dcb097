// How vLLM, SGLang and transformers cut the network into modules, and what they call them.
#include <array>
#include <unordered_map>

#include "verify/name_resolution.h"

namespace qround::verify {
namespace {

bool is_expert(Role role) {
  return role == Role::expert_gate || role == Role::expert_up || role == Role::expert_down;
}

bool is_router(Role role) { return role == Role::router || role == Role::shared_expert_gate; }

ModuleKind kind_of(Reader reader, Role role) {
  if (role == Role::lm_head) return ModuleKind::lm_head;
  return is_expert(role) && reader != Reader::transformers ? ModuleKind::experts
                                                           : ModuleKind::linear;
}

bool may_be_quantized(Reader reader, const Parameter& p) {
  switch (reader) {
    case Reader::vllm:
      return !is_router(p.role);
    case Reader::sglang:
      return !is_router(p.role) && p.part != Part::visual && p.role != Role::mtp_fc;
    case Reader::transformers:
      return p.role != Role::router;  // a bare parameter there
  }
  return false;
}

struct Renaming {
  std::string_view from, to;
};
// The prefixes that vLLM's class with a vision tower renames, in its order.
constexpr std::array<Renaming, 3> kVllmPrefixes = {
    {{"model.visual.", "visual."},
     {"lm_head.", "language_model.lm_head."},
     {"model.language_model.", "language_model.model."}}};
constexpr std::array<Renaming, 1> kVllmTextPrefixes = {{{"model.language_model.", "model."}}};

template <size_t N>
std::string renamed(std::string name, const std::array<Renaming, N>& renamings) {
  for (const auto& [from, to] : renamings) {
    if (name.starts_with(from)) name = std::string(to) + name.substr(from.size());
  }
  return name;
}

std::string module_name(Reader reader, const Parameter& p, bool text_only) {
  const bool fuses = reader != Reader::transformers;
  const std::string& name = fuses && !p.runtime_group.empty() ? p.runtime_group : p.module;
  if (reader != Reader::vllm) return name;
  // The key "lm_head" is not renamed (its prefix ends in a dot), but the module is.
  if (p.role == Role::lm_head) return text_only ? "lm_head" : "language_model.lm_head";
  return vllm_name(name, text_only);
}

}  // namespace

std::string vllm_name(const std::string& name, bool text_only) {
  return text_only ? renamed(name, kVllmTextPrefixes) : renamed(name, kVllmPrefixes);
}

std::vector<RuntimeModule> runtime_modules(Reader reader, const TensorTable& table) {
  const bool text_only = !table.block_prefix(Part::text).starts_with("model.language_model.");
  std::vector<RuntimeModule> modules;
  std::unordered_map<std::string, size_t> index_of;
  for (const Parameter& p : table.parameters()) {
    if (!is_linear(p.role) || (reader == Reader::transformers && p.part == Part::mtp)) continue;
    const std::string name = module_name(reader, p, text_only);
    const auto [found, is_new] = index_of.emplace(name, modules.size());
    if (is_new) {
      modules.push_back({.name = name,
                         .kind = kind_of(reader, p.role),
                         .may_be_quantized = may_be_quantized(reader, p),
                         .shards = {}});
    }
    modules[found->second].shards.push_back(&p);
  }
  return modules;
}

QuantizationNames vllm_names(const QuantizationNames& names, bool text_only) {
  QuantizationNames mapped;
  mapped.bits = names.bits;
  mapped.group_size = names.group_size;
  mapped.sym = names.sym;
  mapped.dynamic = names.dynamic;
  if (names.blocks) {
    mapped.blocks.emplace();
    for (const std::string& block : *names.blocks)
      mapped.blocks->push_back(vllm_name(block, text_only));
  }
  for (const NameOverride& entry : names.overrides()) {
    NameOverride copy(vllm_name(entry.key, text_only));
    copy.bits = entry.bits;
    copy.group_size = entry.group_size;
    copy.sym = entry.sym;
    mapped.add(std::move(copy));
  }
  return mapped;
}

}  // namespace qround::verify
