#include "quant/export_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/problem_list.h"

namespace qround::quant {
namespace {

std::string step_label(Part part, int64_t block) {
  switch (part) {
    case Part::text:
      return block < 0 ? "embedding, final norm, head" : fmt::format("layer {}", block);
    case Part::mtp:
      return block < 0 ? "MTP head" : fmt::format("MTP layer {}", block);
    case Part::visual:
      return "vision tower";
  }
  return "";
}

class ExportPlanner {
 public:
  ExportPlanner(const Checkpoint& source, const Scheme& scheme)
      : source_(source), scheme_(scheme) {}

  void add(const Decision& decision) {
    const Parameter& p = *decision.parameter;
    open_step(p.part, p.part == Part::visual ? -1 : p.block);
    if (decision.int4) {
      add_int4(p);
    } else if (source_.find(p.tensor) != nullptr) {
      add_copy(source_.at(p.tensor));
    } else if (p.part == Part::text) {
      add_item({.name = p.tensor}, source_.at(p.fused_tensor), dense_view(p));
    } else if (fused_copied_.insert(p.fused_tensor).second) {
      add_copy(source_.at(p.fused_tensor));
    }
  }

  void add_unknown(const std::vector<std::string>& names) {
    if (names.empty()) return;
    plan_.steps.push_back({.label = "other tensors"});
    for (const std::string& name : names) add_copy(source_.at(name));
  }

  ExportPlan finish() {
    problems_.throw_if_any("the source cannot be quantized");
    return std::move(plan_);
  }

 private:
  void open_step(Part part, int64_t block) {
    if (!plan_.steps.empty() && plan_.steps.back().part == part &&
        plan_.steps.back().block == block)
      return;
    plan_.steps.push_back({.label = step_label(part, block), .part = part, .block = block});
  }

  TensorView dense_view(const Parameter& p) const {
    return std::get<TensorView>(find_stored(source_, p));
  }

  void add_int4(const Parameter& p) {
    const StoredParameter stored = find_stored(source_, p);
    const auto* dense = std::get_if<TensorView>(&stored);
    if (dense == nullptr) {
      problems_.add(Error("the linear map is quantized already")
                        .file(source_.path())
                        .tensor(p.module)
                        .hint("start from the unquantized checkpoint"));
      return;
    }
    const bool own = source_.find(p.tensor) != nullptr;
    add_item({.linear = &p,
              .name = p.module,
              .shape = {.out = p.shape[0], .in = p.shape[1], .group_size = scheme_.group_size}},
             source_.at(own ? p.tensor : p.fused_tensor), *dense);
  }

  void add_copy(const TensorEntry& entry) {
    add_item({.name = entry.name}, entry, source_.view(entry));
  }

  // `view` lies inside the tensor of `entry`.
  void add_item(ExportItem item, const TensorEntry& entry, const TensorView& view) {
    const auto offset = static_cast<uint64_t>(view.data - source_.view(entry).data);
    item.source = view;
    item.pages.begin = entry.begin + offset;
    item.pages.end = item.pages.begin + view.bytes();
    item.pages.file_idx = entry.file_idx;
    plan_.source_bytes += view.bytes();
    plan_.steps.back().items.push_back(std::move(item));
  }

  const Checkpoint& source_;
  const Scheme& scheme_;
  ExportPlan plan_;
  std::unordered_set<std::string_view> fused_copied_;
  ProblemList problems_;
};

}  // namespace

std::string qweight_name(std::string_view module) { return std::string(module) + ".qweight"; }
std::string qzeros_name(std::string_view module) { return std::string(module) + ".qzeros"; }
std::string scales_name(std::string_view module) { return std::string(module) + ".scales"; }

std::vector<std::span<const ExportItem>> batches(const ExportStep& step) {
  std::vector<std::span<const ExportItem>> list;
  uint64_t batch_bytes = kBatchBytes;  // of the last batch; no room: the first item opens one
  for (const ExportItem& item : step.items) {
    const bool copied = item.linear == nullptr;
    if (copied || batch_bytes >= kBatchBytes) {
      list.emplace_back(&item, 1);
      batch_bytes = copied ? kBatchBytes : item.written_bytes();
    } else {
      list.back() = {list.back().data(), list.back().size() + 1};
      batch_bytes += item.written_bytes();
    }
  }
  return list;
}

bool has_int4(const ExportStep& step) {
  return std::any_of(step.items.begin(), step.items.end(),
                     [](const ExportItem& item) { return item.linear != nullptr; });
}

uint64_t ExportItem::written_bytes() const {
  if (linear == nullptr) return source.bytes();
  const auto bytes = [](const Shape& s, DType dtype) {
    return static_cast<uint64_t>(element_count(s)) * dtype_bytes(dtype);
  };
  return bytes(shape.qweight(), DType::i32) + bytes(shape.qzeros(), DType::i32) +
         bytes(shape.scales(), DType::f16);
}

std::vector<std::string> ExportItem::written_names() const {
  if (linear == nullptr) return {name};
  return {qweight_name(name), qzeros_name(name), scales_name(name)};
}

std::vector<TensorSpec> ExportPlan::tensors() const {
  std::vector<TensorSpec> specs;
  for (const ExportStep& step : steps) {
    for (const ExportItem& item : step.items) {
      if (item.linear == nullptr) {
        specs.push_back({item.name, item.source.dtype, item.source.shape});
        continue;
      }
      specs.push_back({qweight_name(item.name), DType::i32, item.shape.qweight()});
      specs.push_back({qzeros_name(item.name), DType::i32, item.shape.qzeros()});
      specs.push_back({scales_name(item.name), DType::f16, item.shape.scales()});
    }
  }
  return specs;
}

ExportPlan plan_export(const Checkpoint& source, const std::vector<Decision>& decisions,
                       const std::vector<std::string>& unknown, const Scheme& scheme) {
  ExportPlanner planner(source, scheme);
  for (const Decision& decision : decisions) planner.add(decision);
  planner.add_unknown(unknown);
  return planner.finish();
}

}  // namespace qround::quant
