// What the pass over the tensor data found (weight_scan.h), rule by rule.
#include <fmt/format.h>

#include "verify/rules.h"
#include "verify/weight_scan.h"

namespace qround::verify {
namespace {

constexpr double kFewest = 0.3, kMost = 0.7;  // share of negative scales

void add(const std::optional<Finding>& finding, Findings& findings) {
  if (finding) findings.add(*finding);
}

// Of an int4 linear: its g_idx if it has the right type and length; nullptr: none.
const TensorEntry* group_index(const Subject& subject, const Parameter& p) {
  const TensorEntry* entry = subject.checkpoint.find(p.module + ".g_idx");
  if (entry == nullptr || entry->dtype != DType::i32) return nullptr;
  return entry->shape == Shape{p.shape[1]} ? entry : nullptr;
}

}  // namespace

void check_group_index(const Subject& subject, Findings& findings) {
  for (const StoredForm& stored : subject.forms) {
    if (stored.form != Form::int4) continue;
    for (const char* suffix : {".g_idx", ".bias"}) {
      const std::string name = stored.parameter->module + suffix;
      // Biases of the vision tower are the network's own.
      if (subject.checkpoint.find(name) != nullptr && subject.table.find_tensor(name) == nullptr)
        findings.add({name, "an int4 linear has a tensor it does not need", "absent", ""});
    }
  }
}

void check_group_order(const Subject& subject, Findings& findings) {
  const int64_t size = subject.names.group_size;
  if (size <= 0) return;
  for (const StoredForm& stored : subject.forms) {
    if (stored.form != Form::int4) continue;
    const TensorEntry* entry = group_index(subject, *stored.parameter);
    if (entry == nullptr) continue;
    const TensorView view = subject.checkpoint.view(*entry);
    for (int64_t k = 0; k < view.count(); ++k) {
      if (view.as<int32_t>()[k] == k / size) continue;
      findings.add({entry->name, fmt::format("input {} is not in the group of its place", k),
                    fmt::format("{}", k / size), fmt::format("{}", view.as<int32_t>()[k])});
      break;
    }
  }
}

void check_zeros(const Subject& subject, Findings& findings) {
  for (const LinearScan& linear : subject.weights->linears) add(linear.zeros, findings);
}

void check_scales(const Subject& subject, Findings& findings) {
  for (const LinearScan& linear : subject.weights->linears) add(linear.scales, findings);
}

void check_scale_signs(const Subject& subject, Findings& findings) {
  int64_t count = 0, negative = 0;
  for (const LinearScan& linear : subject.weights->linears) {
    count += linear.n_scales;
    negative += linear.n_negative;
  }
  if (count == 0 || !subject.names.sym || subject.is_gptq()) return;
  const double share = static_cast<double>(negative) / static_cast<double>(count);
  if (share >= kFewest && share <= kMost) return;
  findings.add({"scales", "an unusual share of scales is negative", "30 to 70 %",
                fmt::format("{:.1f} % of {}", 100 * share, count)});
}

void check_codes(const Subject& subject, Findings& findings) {
  for (const LinearScan& linear : subject.weights->linears) add(linear.codes, findings);
}

void check_kept_finite(const Subject& subject, Findings& findings) {
  for (const KeptScan& kept : subject.weights->kept) add(kept.finite, findings);
}

void check_kept_identical(const Subject& subject, Findings& findings) {
  for (const KeptScan& kept : subject.weights->kept) add(kept.identical, findings);
}

void check_rounding(const Subject& subject, Findings& findings) {
  if (!subject.rounds_to_nearest()) return;  // learned rounding moves codes further
  for (const LinearScan& linear : subject.weights->linears) {
    if (!linear.scales && !linear.codes) add(linear.rounding, findings);
  }
}

void check_relative_error(const Subject& subject, Findings& findings) {
  for (const LinearScan& linear : subject.weights->linears) {
    if (!linear.codes) add(linear.numerics, findings);
  }
}

}  // namespace qround::verify
