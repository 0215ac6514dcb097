#include "model/stored_parameter.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/error.h"
#include "checkpoint/quantization_config.h"

namespace qround {
namespace {

// Element types a parameter may have in an unquantized tensor.
bool is_floating(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32;
}

TensorView checked_view(const Checkpoint& checkpoint, const TensorEntry& entry,
                        const Shape& shape) {
  if (entry.shape != shape) {
    throw Error("tensor has the wrong shape")
        .file(checkpoint.path())
        .tensor(entry.name)
        .expected(shape_text(shape))
        .actual(shape_text(entry.shape));
  }
  if (!is_floating(entry.dtype)) {
    throw Error("tensor has an element type that cannot be read as a weight")
        .file(checkpoint.path())
        .tensor(entry.name)
        .expected("BF16, F16 or F32")
        .actual(dtype_name(entry.dtype));
  }
  return checkpoint.view(entry);
}

TensorView fused_view(const Checkpoint& checkpoint, const TensorEntry& entry,
                      const Parameter& parameter) {
  const int64_t rows = parameter.shape[0], inputs = parameter.shape[1];
  if (entry.shape.size() != 3 || entry.shape[0] <= parameter.expert ||
      entry.shape[1] < parameter.fused_row + rows || entry.shape[2] != inputs) {
    throw Error("fused expert tensor has the wrong shape")
        .file(checkpoint.path())
        .tensor(entry.name)
        .expected(fmt::format("[experts, rows, {}] with rows {}..{} of expert {}", inputs,
                              parameter.fused_row, parameter.fused_row + rows, parameter.expert))
        .actual(shape_text(entry.shape));
  }
  const TensorView whole = checked_view(checkpoint, entry, entry.shape);
  return whole.slice(parameter.expert).rows(parameter.fused_row, parameter.fused_row + rows);
}

// How the checkpoint says it packs its int4 weights. Asked once for every linear map, so the long
// list of overrides, which cannot change the packing, is left unread.
Int4Format packing_of(const Checkpoint& checkpoint, const Parameter& parameter) {
  const Json* stated = checkpoint.config().find("quantization_config");
  if (stated != nullptr && stated->is_object()) {
    JsonObject packing;
    for (const auto& [key, value] : stated->as_object()) {
      if (key != "extra_config" && key != "dynamic") packing.set(key, value);
    }
    return int4_format(parse_quantization_config(Json(std::move(packing))));
  }
  if (const auto elsewhere = read_quantization_config(checkpoint)) return int4_format(*elsewhere);
  throw Error("there are int4 tensors but no \"quantization_config\"")
      .file(checkpoint.path() / "config.json")
      .tensor(parameter.module + ".qweight");
}

Int4Tensors stored_int4(const Checkpoint& checkpoint, const Parameter& parameter) {
  Int4Tensors int4 = int4_tensors(checkpoint, parameter.module, packing_of(checkpoint, parameter));
  if (int4.shape.out != parameter.shape[0] || int4.shape.in != parameter.shape[1]) {
    throw Error("int4 tensors have the wrong shape")
        .file(checkpoint.path())
        .tensor(parameter.module + ".qweight")
        .expected(shape_text({parameter.shape[1] / 8, parameter.shape[0]}))
        .actual(shape_text(int4.qweight.shape));
  }
  return int4;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Error missing(const Checkpoint& checkpoint, const Parameter& parameter) {
  return Error("the checkpoint lacks a tensor")
      .file(checkpoint.path())
      .tensor(parameter.tensor)
      .expected(shape_text(parameter.shape))
      .hint("download the checkpoint again, or check that config.json belongs to it");
}

}  // namespace

std::vector<std::string> stored_tensors(const Checkpoint& checkpoint, const Parameter& parameter) {
  std::vector<std::string> names;
  if (checkpoint.find(parameter.tensor) != nullptr) names.push_back(parameter.tensor);
  if (!parameter.fused_tensor.empty() && checkpoint.find(parameter.fused_tensor) != nullptr) {
    names.push_back(parameter.fused_tensor);
  }
  if (is_linear(parameter.role)) {
    for (const char* suffix : {".qweight", ".qzeros", ".scales", ".g_idx"}) {
      const std::string name = parameter.module + suffix;
      if (checkpoint.find(name) != nullptr) names.push_back(name);
    }
  }
  return names;
}

bool is_stored(const Checkpoint& checkpoint, const Parameter& parameter) {
  return !stored_tensors(checkpoint, parameter).empty();
}

StoredParameter find_stored(const Checkpoint& checkpoint, const Parameter& parameter) {
  const TensorEntry* own = checkpoint.find(parameter.tensor);
  const TensorEntry* fused =
      parameter.fused_tensor.empty() ? nullptr : checkpoint.find(parameter.fused_tensor);
  const bool int4 =
      is_linear(parameter.role) && checkpoint.find(parameter.module + ".qweight") != nullptr;
  if ((own != nullptr) + (fused != nullptr) + int4 > 1) {
    throw Error("a weight is stored in more than one form")
        .file(checkpoint.path())
        .tensor(parameter.module)
        .actual(joined(stored_tensors(checkpoint, parameter)));
  }
  if (own != nullptr) return checked_view(checkpoint, *own, parameter.shape);
  if (fused != nullptr) return fused_view(checkpoint, *fused, parameter);
  if (int4) return stored_int4(checkpoint, parameter);
  return std::monostate();
}

ops::Weight stored_weight(const Checkpoint& checkpoint, const Parameter& parameter) {
  const StoredParameter stored = find_stored(checkpoint, parameter);
  if (const auto* dense = std::get_if<TensorView>(&stored)) {
    return ops::DenseWeight{dense->dtype, dense->data, dense->shape[0], dense->shape[1]};
  }
  if (const auto* int4 = std::get_if<Int4Tensors>(&stored)) {
    return ops::Int4Weight{.qweight = int4->qweight.as<uint32_t>(),
                           .qzeros = int4->qzeros.as<uint32_t>(),
                           .scales = int4->scales.as<uint16_t>(),
                           .g_idx = int4->g_idx ? int4->g_idx->as<int32_t>() : nullptr,
                           .n = int4->shape.out,
                           .k = int4->shape.in,
                           .group_size = int4->shape.group_size,
                           .zero_offset = int4->zero_offset};
  }
  throw missing(checkpoint, parameter);
}

std::vector<float> stored_values(const Checkpoint& checkpoint, const Parameter& parameter) {
  const StoredParameter stored = find_stored(checkpoint, parameter);
  if (const auto* dense = std::get_if<TensorView>(&stored)) return to_f32(*dense);
  throw missing(checkpoint, parameter);
}

CheckpointCensus check_against_table(const Checkpoint& checkpoint, const TensorTable& table) {
  ProblemList problems;
  std::unordered_set<std::string> known;
  const Parameter* first_absent[3] = {};
  bool any_present[3] = {};
  for (const Parameter& parameter : table.parameters()) {
    const auto part = static_cast<size_t>(parameter.part);
    problems.attempt([&] {
      if (!std::holds_alternative<std::monostate>(find_stored(checkpoint, parameter))) {
        any_present[part] = true;
      } else if (parameter.part == Part::text) {
        throw missing(checkpoint, parameter);
      } else if (first_absent[part] == nullptr) {
        first_absent[part] = &parameter;
      }
    });
    for (std::string& name : stored_tensors(checkpoint, parameter)) known.insert(std::move(name));
  }
  for (const FusedTensor& fused : table.fused_tensors()) {
    const TensorEntry* entry = checkpoint.find(fused.name);
    if (entry != nullptr) problems.attempt([&] { checked_view(checkpoint, *entry, fused.shape); });
  }
  const auto whole = [&](Part part) {
    const auto index = static_cast<size_t>(part);
    if (any_present[index] && first_absent[index] != nullptr)
      problems.add(missing(checkpoint, *first_absent[index]));
    return any_present[index];
  };
  CheckpointCensus census;
  census.has_mtp = whole(Part::mtp);
  census.has_visual = whole(Part::visual);
  problems.throw_if_any("the checkpoint does not fit its config.json");
  for (const TensorEntry& entry : checkpoint.tensors()) {
    if (!known.contains(entry.name)) census.unknown.push_back(entry.name);
  }
  return census;
}

}  // namespace qround
