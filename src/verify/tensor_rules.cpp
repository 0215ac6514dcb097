// Which tensors there are, and in which form: headers alone.
#include <fmt/format.h>

#include <array>
#include <map>
#include <unordered_set>

#include "verify/name_resolution.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

constexpr std::array<std::string_view, 3> kInt4Suffixes = {".qweight", ".qzeros", ".scales"};
// Tensors an int4 linear may have besides; rules of their own speak of them.
constexpr std::array<std::string_view, 2> kOtherSuffixes = {".g_idx", ".bias"};

std::string type_text(const TensorEntry& entry) {
  return fmt::format("{} {}", dtype_name(entry.dtype), shape_text(entry.shape));
}

bool is_kept(Form form) { return form == Form::dense || form == Form::fused; }

// The source's tensor that holds the parameter; null: none, or no source.
const TensorEntry* source_entry(const Subject& subject, const Parameter& p) {
  if (subject.source == nullptr) return nullptr;
  const TensorEntry* entry = subject.source->find(p.tensor);
  return entry != nullptr || p.fused_tensor.empty() ? entry : subject.source->find(p.fused_tensor);
}

bool has_part(const Subject& subject, Part part) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.parameter->part == part && stored.form != Form::absent) return true;
  }
  return false;
}

// Names of the tensors that make up the parameter in its form.
std::vector<std::string> tensors_of(const StoredForm& stored) {
  const Parameter& p = *stored.parameter;
  std::vector<std::string> names = {p.tensor};
  if (!p.fused_tensor.empty()) names.push_back(p.fused_tensor);
  if (stored.form != Form::int4 && stored.form != Form::several) return names;
  if (stored.form == Form::int4) names.clear();
  for (const std::string_view suffix : kInt4Suffixes)
    names.push_back(p.module + std::string(suffix));
  for (const std::string_view suffix : kOtherSuffixes)
    names.push_back(p.module + std::string(suffix));
  return names;
}

void check_int4_complete(const Subject& subject, const Parameter& p, Findings& findings) {
  for (const std::string_view suffix : kInt4Suffixes) {
    const std::string name = p.module + std::string(suffix);
    if (subject.checkpoint.find(name) == nullptr)
      findings.add({name, "a tensor of an int4 linear is missing", "", "absent"});
  }
}

void check_complete(const Subject& subject, const StoredForm& stored, Findings& findings) {
  const Parameter& p = *stored.parameter;
  switch (stored.form) {
    case Form::several:
      findings.add({p.module, "the weight is stored in more than one form", "one form", ""});
      break;
    case Form::absent:
      findings.add({p.tensor, "the tensor is missing", shape_text(p.shape), "absent"});
      break;
    case Form::int4:
      check_int4_complete(subject, p, findings);
      break;
    case Form::dense:
    case Form::fused:
      break;
  }
}

// The forms in which the MTP head keeps its experts; readers want one.
void check_one_expert_form(const Subject& subject, Findings& findings) {
  const Parameter* dense = nullptr;
  const Parameter* fused = nullptr;
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    if (p.part != Part::mtp || p.expert < 0) continue;
    if (stored.form == Form::dense) dense = &p;
    if (stored.form == Form::fused) fused = &p;
  }
  if (dense != nullptr && fused != nullptr)
    findings.add({fused->fused_tensor, "experts of the MTP head are stored in two forms",
                  "one form", dense->tensor});
}

void find_int4(const Subject& subject, std::string_view message, Findings& findings,
               bool (*is_meant)(const Parameter&)) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.form == Form::int4 && is_meant(*stored.parameter))
      findings.add({stored.parameter->module, std::string(message), "BF16", "int4"});
  }
}

}  // namespace

void check_tensor_set(const Subject& subject, Findings& findings) {
  const bool has_visual = has_part(subject, Part::visual);
  std::unordered_set<std::string_view> of_the_network;
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    of_the_network.insert(p.tensor);
    if (!p.fused_tensor.empty()) of_the_network.insert(p.fused_tensor);
    if (p.part == Part::mtp) continue;  // mtp-complete
    const bool without =
        p.part == Part::visual && !has_visual && source_entry(subject, p) == nullptr;
    if (!without) check_complete(subject, stored, findings);
  }
  if (subject.source == nullptr) return;
  for (const TensorEntry& entry : subject.source->tensors()) {
    if (!of_the_network.contains(entry.name) && subject.checkpoint.find(entry.name) == nullptr)
      findings.add({entry.name, "a tensor of the source is missing", type_text(entry), "absent"});
  }
}

void check_unknown_tensors(const Subject& subject, Findings& findings) {
  std::unordered_set<std::string> known;
  for (const StoredForm& stored : subject.forms) {
    for (std::string& name : tensors_of(stored)) known.insert(std::move(name));
  }
  const bool mtp_is_unknown = subject.model.mtp_layers == 0;  // mtp-config says so
  for (const TensorEntry& entry : subject.checkpoint.tensors()) {
    if (known.contains(entry.name) || (mtp_is_unknown && entry.name.starts_with("mtp."))) continue;
    if (subject.source == nullptr || subject.source->find(entry.name) == nullptr)
      findings.add({entry.name, "the tensor belongs neither to the network nor to the source", "",
                    type_text(entry)});
  }
}

void check_mtp_complete(const Subject& subject, Findings& findings) {
  if (subject.model.mtp_layers == 0) return;
  if (!has_part(subject, Part::mtp)) {
    const bool source_has = subject.source != nullptr && subject.source->find("mtp.fc.weight");
    findings.add({"mtp",
                  source_has ? "the MTP head of the source is missing"
                             : "config.json promises an MTP head, but there is none",
                  fmt::format("{} layer", subject.model.mtp_layers), "absent"});
    return;
  }
  for (const StoredForm& stored : subject.forms) {
    if (stored.parameter->part == Part::mtp) check_complete(subject, stored, findings);
  }
  check_one_expert_form(subject, findings);
}

void check_fused_alike(const Subject& subject, Findings& findings) {
  for (const RuntimeModule& module : runtime_modules(Reader::sglang, subject.table)) {
    const Parameter* int4 = nullptr;
    const Parameter* kept = nullptr;
    for (const Parameter* p : module.shards) {
      const Form form = subject.form_of(*p);
      if (form == Form::int4 && int4 == nullptr) int4 = p;
      if (is_kept(form) && kept == nullptr) kept = p;
    }
    if (int4 != nullptr && kept != nullptr)
      findings.add({module.name, "maps that engines fuse are stored in two forms",
                    int4->module + " is int4", kept->module + " is not"});
  }
}

void check_never_int4(const Subject& subject, Findings& findings) {
  find_int4(subject, "a map that no engine builds quantized is int4", findings,
            [](const Parameter& p) {
              return p.part == Part::visual || p.role == Role::router ||
                     p.role == Role::shared_expert_gate || p.role == Role::lm_head;
            });
}

void check_mtp_int4(const Subject& subject, Findings& findings) {
  find_int4(subject, "a map of the MTP head is int4", findings, [](const Parameter& p) {
    return p.part == Part::mtp && p.role != Role::router && p.role != Role::shared_expert_gate;
  });
}

void check_ba_int4(const Subject& subject, Findings& findings) {
  find_int4(
      subject, "a small map of the linear attention is int4", findings,
      [](const Parameter& p) { return p.role == Role::in_proj_a || p.role == Role::in_proj_b; });
}

}  // namespace qround::verify
