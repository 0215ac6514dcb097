// Types and shapes of tensors: headers alone.
#include <fmt/format.h>

#include <algorithm>

#include "verify/rules.h"

namespace qround::verify {
namespace {

std::string type_text(DType dtype, const Shape& shape) {
  return fmt::format("{} {}", dtype_name(dtype), shape_text(shape));
}

bool is_floating(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32;
}

// The group size as the config has it: a wrong one is config-values' finding and breaks shapes too.
int64_t group_size(const Subject& subject, const Parameter& p) {
  const int64_t size = subject.names.group_size;
  return size > 0 ? size : p.shape[1];
}

template <typename Check>
void for_int4(const Subject& subject, const Check& check) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.form == Form::int4) check(*stored.parameter);
  }
}

void expect_dtype(const Subject& subject, const std::string& name, DType dtype,
                  Findings& findings) {
  const TensorEntry* entry = subject.checkpoint.find(name);
  if (entry == nullptr || entry->dtype == dtype) return;
  findings.add({name, "the tensor has the wrong type", std::string(dtype_name(dtype)),
                std::string(dtype_name(entry->dtype))});
}

void expect_shape(const TensorEntry* entry, const Shape& shape, Findings& findings) {
  if (entry == nullptr || entry->shape == shape) return;
  findings.add({entry->name, "the tensor has the wrong shape", type_text(entry->dtype, shape),
                type_text(entry->dtype, entry->shape)});
}

// The type the kept tensor has in the source; nullopt: it is not there, or there is no source.
std::optional<DType> source_dtype(const Subject& subject, const TensorEntry& entry) {
  if (subject.source == nullptr) return std::nullopt;
  const TensorEntry* there = subject.source->find(entry.name);
  if (there == nullptr) {
    const Parameter* p = subject.table.find_tensor(entry.name);
    if (p != nullptr && !p->fused_tensor.empty()) there = subject.source->find(p->fused_tensor);
  }
  return there == nullptr ? std::nullopt : std::optional(there->dtype);
}

void check_kept(const Subject& subject, const TensorEntry& entry, Findings& findings) {
  const std::optional<DType> there = source_dtype(subject, entry);
  if (there ? entry.dtype == *there : is_floating(entry.dtype)) return;
  findings.add({entry.name, "a kept tensor has the wrong type",
                there ? std::string(dtype_name(*there)) : "BF16, F16 or F32",
                std::string(dtype_name(entry.dtype))});
}

}  // namespace

void check_int4_dtypes(const Subject& subject, Findings& findings) {
  for_int4(subject, [&](const Parameter& p) {
    expect_dtype(subject, p.module + ".qweight", DType::i32, findings);
    expect_dtype(subject, p.module + ".qzeros", DType::i32, findings);
  });
}

void check_scale_dtype(const Subject& subject, Findings& findings) {
  for_int4(subject, [&](const Parameter& p) {
    expect_dtype(subject, p.module + ".scales", DType::f16, findings);
  });
}

void check_kept_dtype(const Subject& subject, Findings& findings) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.form == Form::dense)
      check_kept(subject, subject.checkpoint.at(stored.parameter->tensor), findings);
  }
  for (const FusedTensor& fused : subject.table.fused_tensors()) {
    if (const TensorEntry* entry = subject.checkpoint.find(fused.name))
      check_kept(subject, *entry, findings);
  }
}

void check_shapes(const Subject& subject, Findings& findings) {
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    if (stored.form == Form::dense)
      expect_shape(subject.checkpoint.find(p.tensor), p.shape, findings);
    if (stored.form != Form::int4) continue;
    const Int4Shape shape{p.shape[0], p.shape[1], group_size(subject, p)};
    expect_shape(subject.checkpoint.find(p.module + ".qweight"), shape.qweight(), findings);
    expect_shape(subject.checkpoint.find(p.module + ".qzeros"), shape.qzeros(), findings);
    expect_shape(subject.checkpoint.find(p.module + ".scales"), shape.scales(), findings);
  }
  for (const FusedTensor& fused : subject.table.fused_tensors())
    expect_shape(subject.checkpoint.find(fused.name), fused.shape, findings);
}

void check_int4_sides(const Subject& subject, Findings& findings) {
  for_int4(subject, [&](const Parameter& p) {
    const int64_t n = p.shape[0], k = p.shape[1], group = group_size(subject, p);
    if (n % 32 == 0 && k % 32 == 0 && k % group == 0) return;
    findings.add({p.module, "no kernel of auto-round takes the shape",
                  fmt::format("multiples of 32, and inputs of {}", group), shape_text(p.shape)});
  });
}

void check_exllama_zero_point(const Subject& subject, Findings& findings) {
  for_int4(subject, [&](const Parameter& p) {
    if (p.shape[0] % 64 == 0 || p.shape[0] % 32 != 0) return;
    findings.add({p.module, "gptqmodel's Marlin does not take the shape, its exllamav2 kernel does",
                  "a multiple of 64 outputs", shape_text(p.shape)});
  });
}

}  // namespace qround::verify
