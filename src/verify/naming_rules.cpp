// Which modules quantization_config names, and how.
#include <fmt/format.h>

#include <algorithm>

#include "verify/name_resolution.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

const std::string kFile = "config.json";

bool names_modules(const Subject& subject) {
  return !subject.quantization.is_null() && !subject.is_gptq();
}

bool is_text_only(const Subject& subject) { return subject.model.text_only; }

template <typename Predicate>
bool any_linear(const Subject& subject, const Predicate& predicate) {
  return std::any_of(subject.forms.begin(), subject.forms.end(), [&](const StoredForm& stored) {
    return is_linear(stored.parameter->role) && predicate(stored);
  });
}

bool holds_int4(const Subject& subject, const std::string& block) {
  return any_linear(subject, [&](const StoredForm& stored) {
    return stored.form == Form::int4 && stored.parameter->module.starts_with(block);
  });
}

bool is_kept(Form form) { return form == Form::dense || form == Form::fused; }

// A kept linear map outside the blocks of text that the block name takes in; nullptr: none.
const Parameter* outsider(const Subject& subject, const std::string& block) {
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    const bool outside = p.part == Part::visual || p.role == Role::lm_head;
    if (outside && is_linear(p.role) && is_kept(stored.form) && p.module.starts_with(block))
      return &p;
  }
  return nullptr;
}

void check_block(const Subject& subject, const std::string& block, Findings& findings) {
  const auto report = [&](std::string message, std::string actual) {
    findings.add({kFile, "block_name_to_quantize " + std::move(message),
                  subject.table.block_prefix(Part::text), std::move(actual)});
  };
  if (block.empty()) return report("has an empty element", "\"\"");
  if (block.find(' ') != std::string::npos)
    return report("has a space, which no program removes", '"' + block + '"');
  if (const Parameter* p = outsider(subject, block))
    return report("takes in " + p->module + ", which is kept", block);
  // Of an MTP block a rule of its own speaks.
  if (block.starts_with("mtp")) return;
  const bool any_int4 =
      any_linear(subject, [](const StoredForm& stored) { return stored.form == Form::int4; });
  if (any_int4 && !holds_int4(subject, block)) report("names blocks without int4 maps", block);
}

bool is_module(const Subject& subject, const std::string& key) {
  return subject.table.find_module(key) != nullptr;
}

bool is_fused_module(const Subject& subject, const std::string& key) {
  return any_linear(
      subject, [&](const StoredForm& stored) { return stored.parameter->runtime_group == key; });
}

}  // namespace

void check_block_names(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  if (!subject.names.blocks) {
    findings.add({kFile, "block_name_to_quantize is missing",
                  subject.table.block_prefix(Part::text), "absent"});
    return;
  }
  for (const std::string& block : *subject.names.blocks) check_block(subject, block, findings);
}

void check_mtp_block_names(const Subject& subject, Findings& findings) {
  if (!names_modules(subject) || !subject.names.blocks) return;
  for (const std::string& block : *subject.names.blocks) {
    if (block.starts_with("mtp") && !holds_int4(subject, block))
      findings.add({kFile, "block_name_to_quantize names the MTP head, which is kept", "", block});
  }
}

void check_override_bits(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (entry.bits && (*entry.bits == 16 || *entry.bits == subject.names.bits)) continue;
    findings.add({entry.key, "an entry's bits are not usable",
                  fmt::format("16 or {}", subject.names.bits),
                  entry.bits ? fmt::format("{}", *entry.bits) : "absent"});
  }
}

void check_override_settings(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (entry.bits.value_or(16) < 16 || (!entry.group_size && !entry.sym)) continue;
    findings.add({entry.key, "an entry that keeps a module says more than its bits",
                  "bits and data_type", entry.group_size ? "group_size" : "sym"});
  }
}

void check_override_modules(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (entry.bits.value_or(16) >= 16) continue;
    const Parameter* p = subject.table.find_module(entry.key);
    const bool exists = p != nullptr && subject.form_of(*p) == Form::int4;
    if (!exists)
      findings.add(
          {entry.key, "an entry quantizes what is no quantized module", "a module's name", ""});
  }
}

void check_expressions_compile(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (entry.is_expression && !entry.pattern.valid())
      findings.add({entry.key, "the key is no regular expression that is understood here", "", ""});
  }
  for (const DynamicRule& rule : subject.names.dynamic) {
    if (!NamePattern(rule.expression).valid())
      findings.add({rule.expression, "a key of dynamic is no regular expression", "", ""});
  }
}

void check_expressions_match_wholly(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (!entry.is_expression) continue;
    for (const StoredForm& stored : subject.forms) {
      const std::string& name = stored.parameter->module;
      if (!is_linear(stored.parameter->role) || !entry.pattern.search(name)) continue;
      if (entry.pattern.full_match(name)) continue;
      findings.add({entry.key, "the expression is in the name, but does not match all of it",
                    ".* on both sides", name});
      break;
    }
  }
}

void check_anchored_expressions(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  const std::vector<RuntimeModule> modules = runtime_modules(Reader::vllm, subject.table);
  for (const NameOverride& entry : subject.names.overrides()) {
    if (!entry.is_expression || !entry.pattern.valid()) continue;
    const Parameter* found = nullptr;  // a map it is meant for
    bool effective = false;
    for (const RuntimeModule& module : modules) {
      effective |= entry.pattern.search(module.name);
      for (const Parameter* p : module.shards) {
        effective |= entry.pattern.search(vllm_name(p->module, is_text_only(subject)));
        if (found == nullptr && entry.pattern.search(p->module)) found = p;
      }
    }
    if (effective) continue;
    findings.add({entry.key,
                  found == nullptr ? "the expression matches no module"
                                   : "the expression matches nothing under vLLM's names",
                  "", found == nullptr ? "" : found->module});
  }
}

void check_unknown_keys(const Subject& subject, Findings& findings) {
  if (!names_modules(subject)) return;
  for (const NameOverride& entry : subject.names.overrides()) {
    if (entry.is_expression || is_module(subject, entry.key) || is_fused_module(subject, entry.key))
      continue;
    findings.add({entry.key, "the key is neither an expression nor a module's whole name", "", ""});
  }
}

}  // namespace qround::verify
