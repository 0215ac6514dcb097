// Headers and index: no tensor data is read.
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <unordered_set>

#include "verify/rules.h"

namespace qround::verify {
namespace {

constexpr std::array<std::string_view, 3> kInt4Suffixes = {".qweight", ".qzeros", ".scales"};

std::string type_text(DType dtype, const Shape& shape) {
  return fmt::format("{} {}", dtype_name(dtype), shape_text(shape));
}

bool is_floating(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32;
}

void expect_type(const Subject& subject, const std::string& name, DType dtype, const Shape& shape,
                 Findings& findings) {
  const TensorEntry* entry = subject.checkpoint.find(name);
  if (entry == nullptr || (entry->dtype == dtype && entry->shape == shape)) return;
  findings.add({name, "the tensor has the wrong dtype or shape", type_text(dtype, shape),
                type_text(entry->dtype, entry->shape)});
}

void check_int4_types(const Subject& subject, const Parameter& p, Findings& findings) {
  const Int4Shape shape{p.shape[0], p.shape[1], subject.int4_format().group_size};
  expect_type(subject, p.module + ".qweight", DType::i32, shape.qweight(), findings);
  expect_type(subject, p.module + ".qzeros", DType::i32, shape.qzeros(), findings);
  expect_type(subject, p.module + ".scales", DType::f16, shape.scales(), findings);
}

// The source's tensor that holds the parameter; null: none, or no source.
const TensorEntry* source_entry(const Subject& subject, const Parameter& p) {
  if (subject.source == nullptr) return nullptr;
  const TensorEntry* entry = subject.source->find(p.tensor);
  return entry != nullptr || p.fused_tensor.empty() ? entry : subject.source->find(p.fused_tensor);
}

// A tensor that is not quantized: of the dtype of `there`, its source, or if that is null of any
// floating one.
void expect_kept_type(const Subject& subject, const TensorEntry& entry, const TensorEntry* there,
                      const Shape& shape, Findings& findings) {
  if (there == nullptr && !is_floating(entry.dtype)) {
    findings.add({entry.name, "the tensor has the wrong dtype", "BF16, F16 or F32",
                  std::string(dtype_name(entry.dtype))});
  }
  expect_type(subject, entry.name, there == nullptr ? entry.dtype : there->dtype, shape, findings);
}

// Names of the tensors that make up the parameter in its form.
std::vector<std::string> tensors_of(const StoredForm& stored) {
  const Parameter& p = *stored.parameter;
  switch (stored.form) {
    case Form::absent:
      return {};
    case Form::dense:
      return {p.tensor};
    case Form::fused:
      return {p.fused_tensor};
    case Form::int4:
    case Form::several:
      break;
  }
  std::vector<std::string> names;
  if (stored.form == Form::several) names = {p.tensor, p.fused_tensor};
  for (const std::string_view suffix : kInt4Suffixes)
    names.push_back(p.module + std::string(suffix));
  names.push_back(p.module + ".g_idx");
  return names;
}

// Whether the parameter may be missing: parts that the source, or everything here, lacks.
bool may_be_absent(const Subject& subject, const Parameter& p, const bool (&part_is_present)[3]) {
  if (p.part == Part::text) return false;
  if (part_is_present[static_cast<size_t>(p.part)]) return false;
  return subject.source == nullptr || source_entry(subject, p) == nullptr;
}

void check_completeness(const Subject& subject, Findings& findings) {
  bool part_is_present[3] = {};
  for (const StoredForm& stored : subject.forms) {
    if (stored.form != Form::absent)
      part_is_present[static_cast<size_t>(stored.parameter->part)] = true;
  }
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    if (stored.form == Form::several) {
      findings.add({p.module, "the weight is stored in more than one form", "one form", ""});
    } else if (stored.form == Form::absent && !may_be_absent(subject, p, part_is_present)) {
      findings.add({p.tensor, "the tensor is missing", shape_text(p.shape), "absent"});
    } else if (stored.form == Form::int4) {
      for (const std::string_view suffix : kInt4Suffixes) {
        const std::string name = p.module + std::string(suffix);
        if (subject.checkpoint.find(name) == nullptr)
          findings.add({name, "a tensor of an int4 linear is missing", "", "absent"});
      }
    }
  }
}

void check_strangers(const Subject& subject, Findings& findings) {
  std::unordered_set<std::string> known;
  for (const StoredForm& stored : subject.forms) {
    for (std::string& name : tensors_of(stored)) known.insert(std::move(name));
  }
  std::unordered_set<std::string_view> of_the_network;
  for (const Parameter& p : subject.table.parameters()) {
    of_the_network.insert(p.tensor);
    if (!p.fused_tensor.empty()) of_the_network.insert(p.fused_tensor);
  }
  for (const TensorEntry& entry : subject.checkpoint.tensors()) {
    if (known.contains(entry.name)) continue;
    if (subject.source == nullptr || subject.source->find(entry.name) == nullptr)
      findings.add({entry.name, "the tensor belongs neither to the network nor to the source", "",
                    type_text(entry.dtype, entry.shape)});
  }
  if (subject.source == nullptr) return;
  for (const TensorEntry& entry : subject.source->tensors()) {
    if (!of_the_network.contains(entry.name) && subject.checkpoint.find(entry.name) == nullptr)
      findings.add({entry.name, "a tensor of the source is missing",
                    type_text(entry.dtype, entry.shape), "absent"});
  }
}

void check_total_size(const Subject& subject, const Json& index, Findings& findings) {
  const Json* metadata = index.find("metadata");
  const Json* total = metadata == nullptr ? nullptr : metadata->find("total_size");
  const auto expected = static_cast<double>(subject.checkpoint.total_bytes());
  if (total != nullptr && total->is_number() && total->as_double() == expected) return;
  findings.add({std::string(kIndexFileName), "total_size is wrong",
                fmt::format("{}", subject.checkpoint.total_bytes()),
                total == nullptr ? "absent" : total->dump()});
}

}  // namespace

// That files exist and hold what the index promises was checked when the checkpoint was opened.
void check_index(const Subject& subject, Findings& findings) {
  std::error_code ignored;
  for (const std::string& name : subject.checkpoint.unindexed_tensors())
    findings.add({name, "the index does not list the tensor", "", ""});
  const bool has_index =
      std::filesystem::exists(subject.checkpoint.path() / kIndexFileName, ignored);
  if (!has_index && subject.checkpoint.files().size() > 1)
    findings.add({std::string(kIndexFileName), "the index is missing", "", "absent"});
}

void check_index_details(const Subject& subject, Findings& findings) {
  for (const SafetensorsFile& file : subject.checkpoint.files()) {
    const std::string name = file.path().filename().string();
    if (!name.starts_with("model"))
      findings.add({name, "some readers load only files named model*", "model*.safetensors", name});
  }
  const std::filesystem::path path = subject.checkpoint.path() / kIndexFileName;
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored))
    check_total_size(subject, Json::parse_file(path), findings);
}

void check_tensor_set(const Subject& subject, Findings& findings) {
  check_completeness(subject, findings);
  check_strangers(subject, findings);
}

void check_dtypes_and_shapes(const Subject& subject, Findings& findings) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.form == Form::int4) check_int4_types(subject, *stored.parameter, findings);
    if (stored.form != Form::dense) continue;
    const Parameter& p = *stored.parameter;
    expect_kept_type(subject, subject.checkpoint.at(p.tensor), source_entry(subject, p), p.shape,
                     findings);
  }
  for (const FusedTensor& fused : subject.table.fused_tensors()) {
    const TensorEntry* entry = subject.checkpoint.find(fused.name);
    if (entry == nullptr) continue;
    const TensorEntry* there =
        subject.source == nullptr ? nullptr : subject.source->find(fused.name);
    expect_kept_type(subject, *entry, there, fused.shape, findings);
  }
}

}  // namespace qround::verify
