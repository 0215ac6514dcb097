#include "quant/plan.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/progress.h"

namespace qround::quant {
namespace {

uint64_t shortfall(uint64_t needed, uint64_t there) { return needed > there ? needed - there : 0; }

Json row_json(const PlanRow& row) {
  return Json::object({{"part", std::string(part_name(row.part))},
                       {"kind", row.kind},
                       {"form", row.int4 ? "int4" : "kept"},
                       {"reason", row.reason},
                       {"count", row.count},
                       {"bytes_before", row.bytes_before},
                       {"bytes_after", row.bytes_after}});
}

std::string row_text(const PlanRow& row) {
  return fmt::format("{:<7}{:<26}{:>6}  {:<5}{:>9} -> {:<9}{}\n", part_name(row.part), row.kind,
                     row.count, row.int4 ? "int4" : "kept", bytes_text(row.bytes_before),
                     bytes_text(row.bytes_after), row.reason);
}

std::string resource_text(const char* name, uint64_t needed, uint64_t there,
                          const char* there_is = "free") {
  const uint64_t missing = shortfall(needed, there);
  return fmt::format("{:<10}{} needed, {} {}{}\n", name, bytes_text(needed), bytes_text(there),
                     there_is, missing > 0 ? fmt::format(": {} short", bytes_text(missing)) : "");
}

std::string gpu_text(const Plan& plan) {
  const uint64_t limit = plan.gpu_memory_limit_bytes();
  std::string text =
      fmt::format("{:<10}{} of its memory needed", "GPU", bytes_text(plan.gpu_memory_needed_bytes));
  if (limit != UINT64_MAX) {
    text += fmt::format(", {} {}", bytes_text(limit),
                        plan.gpu_memory_budget_bytes > 0 ? "allowed" : "free");
  }
  if (plan.gpu_memory_needed_bytes > plan.gpu_memory_smallest_bytes) {
    text += fmt::format(" ({} would do: {} then comes over the bus as it is needed)",
                        bytes_text(plan.gpu_memory_smallest_bytes),
                        plan.activations_on_gpu ? "everything but a block" : "the next block");
  }
  return text + "\n";
}

}  // namespace

std::string_view part_name(Part part) {
  switch (part) {
    case Part::text:
      return "text";
    case Part::mtp:
      return "mtp";
    case Part::visual:
      return "visual";
  }
  return "";
}

uint64_t Plan::disk_shortfall_bytes() const {
  return shortfall(disk_needed_bytes, disk_free_bytes);
}

uint64_t Plan::memory_limit_bytes() const {
  return memory_budget_bytes > 0 ? memory_budget_bytes : memory_available_bytes;
}

uint64_t Plan::gpu_memory_limit_bytes() const {
  if (gpu_memory_budget_bytes > 0) return gpu_memory_budget_bytes;
  return gpu_memory_available_bytes > 0 ? gpu_memory_available_bytes : UINT64_MAX;
}

uint64_t Plan::memory_shortfall_bytes() const {
  const uint64_t limit = memory_limit_bytes();
  return limit == 0 ? 0 : shortfall(memory_needed_bytes, limit);
}

Json to_json(const Plan& plan) {
  Json::Array rows, notes;
  for (const PlanRow& row : plan.rows) rows.push_back(row_json(row));
  for (const std::string& note : plan.notes) notes.emplace_back(note);
  return Json::object({{"source", plan.source},
                       {"output", plan.output},
                       {"architecture", plan.architecture},
                       {"scheme", plan.scheme},
                       {"linears_quantized", plan.linears.quantized},
                       {"linears", plan.linears.total},
                       {"mtp_linears_quantized", plan.linears.mtp_quantized},
                       {"mtp_linears", plan.linears.mtp_total},
                       {"parameters", plan.parameters},
                       {"tensors_before", plan.tensors_before},
                       {"tensors_after", plan.tensors_after},
                       {"shards_before", plan.shards_before},
                       {"shards_after", plan.shards_after},
                       {"bytes_before", plan.bytes_before},
                       {"bytes_after", plan.bytes_after},
                       {"memory_needed_bytes", plan.memory_needed_bytes},
                       {"memory_available_bytes", plan.memory_available_bytes},
                       {"memory_budget_bytes", plan.memory_budget_bytes},
                       {"gpu_memory_needed_bytes", plan.gpu_memory_needed_bytes},
                       {"gpu_memory_smallest_bytes", plan.gpu_memory_smallest_bytes},
                       {"gpu_memory_available_bytes", plan.gpu_memory_available_bytes},
                       {"gpu_memory_budget_bytes", plan.gpu_memory_budget_bytes},
                       {"activations_on_gpu", plan.activations_on_gpu},
                       {"next_block_on_gpu", plan.next_block_on_gpu},
                       {"activation_bytes", plan.activation_bytes},
                       {"activations_on_disk", plan.activations_on_disk},
                       {"disk_needed_bytes", plan.disk_needed_bytes},
                       {"disk_free_bytes", plan.disk_free_bytes},
                       {"disk_shortfall_bytes", plan.disk_shortfall_bytes()},
                       {"classes", Json(std::move(rows))},
                       {"notes", Json(std::move(notes))}});
}

std::string plan_text(const Plan& plan) {
  std::string text = fmt::format("{}  {}  {}\n\n", plan.source, plan.architecture, plan.scheme);
  for (const PlanRow& row : plan.rows) text += row_text(row);
  text += fmt::format("\n{:<10}{} of {} linears become int4 (text blocks, head, vision tower)\n",
                      "linears", plan.linears.quantized, plan.linears.total);
  if (plan.linears.mtp_total > 0) {
    text += fmt::format("{:<10}{} of {} linears of the MTP head\n", "", plan.linears.mtp_quantized,
                        plan.linears.mtp_total);
  }
  text += fmt::format("{:<10}{} -> {} in {} -> {} shards\n", "tensors", plan.tensors_before,
                      plan.tensors_after, plan.shards_before, plan.shards_after);
  text += fmt::format("{:<10}{} -> {} bytes ({} -> {}, {:.2f} bits a parameter)\n", "size",
                      plan.bytes_before, plan.bytes_after, bytes_text(plan.bytes_before),
                      bytes_text(plan.bytes_after),
                      8.0 * static_cast<double>(plan.bytes_after) /
                          static_cast<double>(std::max<int64_t>(plan.parameters, 1)));
  text += resource_text("memory", plan.memory_needed_bytes, plan.memory_limit_bytes(),
                        plan.memory_budget_bytes > 0 ? "allowed" : "free");
  if (plan.gpu_memory_needed_bytes > 0) text += gpu_text(plan);
  if (plan.activation_bytes > 0) {
    text += fmt::format("{:<10}{} of hidden states, {}\n", "", bytes_text(plan.activation_bytes),
                        plan.activations_on_gpu    ? "kept on the GPU"
                        : plan.activations_on_disk ? "kept on the disk"
                                                   : "kept in memory");
  }
  text += resource_text("disk", plan.disk_needed_bytes, plan.disk_free_bytes);
  for (const std::string& note : plan.notes) text += "note: " + note + "\n";
  return text;
}

void check_resources(const Plan& plan) {
  if (plan.disk_shortfall_bytes() > 0) {
    throw Error("not enough free disk space", ErrorKind::resource)
        .file(plan.output)
        .expected(bytes_text(plan.disk_needed_bytes) + " free")
        .actual(bytes_text(plan.disk_free_bytes) + " free")
        .hint("free some disk space or choose an output directory on another disk");
  }
  if (plan.gpu_memory_needed_bytes > plan.gpu_memory_limit_bytes()) {
    throw Error(plan.gpu_memory_budget_bytes > 0 ? "the budget of GPU memory is too small"
                                                 : "the GPU has too little free memory",
                ErrorKind::resource)
        .expected(fmt::format("--gpu-memory {}M or more",
                              (plan.gpu_memory_smallest_bytes + (1 << 20) - 1) / (1 << 20)))
        .actual(bytes_text(plan.gpu_memory_limit_bytes()))
        .hint("raise it, or lower --batch-size or --seqlen");
  }
  if (plan.memory_shortfall_bytes() > 0 && plan.memory_budget_bytes > 0) {
    throw Error("the memory budget is too small", ErrorKind::resource)
        .expected(fmt::format("--memory {}M or more", plan.memory_needed_bytes / (1 << 20) + 1))
        .actual(bytes_text(plan.memory_budget_bytes))
        .hint("raise it, or lower --batch-size or --seqlen");
  }
  if (plan.memory_shortfall_bytes() > 0) {
    throw Error("not enough free memory", ErrorKind::resource)
        .expected(bytes_text(plan.memory_needed_bytes) + " free")
        .actual(bytes_text(plan.memory_available_bytes) + " free")
        .hint("lower --batch-size, --seqlen or --threads, or close other programs");
  }
}

}  // namespace qround::quant
