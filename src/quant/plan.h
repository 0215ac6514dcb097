// What a job would do, as figures and words: all that `plan` prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/tensor_table.h"
#include "quant/policy.h"

namespace qround::quant {

// Parameters of one kind with one fate.
struct PlanRow {
  Part part = Part::text;
  std::string kind;  // "experts.gate_proj", "norms", ...
  bool int4 = false;
  std::string reason;  // of the decision
  int64_t count = 0;   // parameters of the table; tensors for what the table does not name
  uint64_t bytes_before = 0, bytes_after = 0;
};

struct Plan {
  std::string source, output;  // directories as given; output may be empty
  std::string architecture;
  std::string scheme;
  std::vector<PlanRow> rows;
  LinearCounts linears;
  int64_t parameters = 0;  // numbers in all tensors of the source
  int64_t tensors_before = 0, tensors_after = 0;
  int64_t shards_before = 0, shards_after = 0;
  uint64_t bytes_before = 0, bytes_after = 0;  // of tensor data
  uint64_t memory_needed_bytes = 0;            // anonymous; mapped file pages come and go beside it
  uint64_t memory_available_bytes = 0;         // 0: unknown
  uint64_t memory_budget_bytes = 0;            // asked for; 0: none
  // Of tuning on a GPU: what the job takes there beside what the driver keeps for a process.
  uint64_t gpu_memory_needed_bytes = 0;     // 0: nothing is tuned on a GPU
  uint64_t gpu_workspace_bytes = 0;         // of these, scratch of its kernels
  uint64_t gpu_memory_smallest_bytes = 0;   // that would do, more slowly
  uint64_t gpu_memory_available_bytes = 0;  // 0: no GPU here
  uint64_t gpu_memory_budget_bytes = 0;     // asked for; 0: none
  bool activations_on_gpu = false;
  bool next_block_on_gpu = false;    // it travels there while the one before is tuned
  uint64_t activation_bytes = 0;     // hidden states of the calibration sequences
  bool activations_on_disk = false;  // else part of memory_needed_bytes, unless on the GPU
  uint64_t disk_needed_bytes = 0;
  uint64_t disk_free_bytes = 0;
  std::vector<std::string> notes;  // what a person should know before the job runs

  uint64_t memory_limit_bytes() const;      // the budget or, without one, what is available
  uint64_t gpu_memory_limit_bytes() const;  // the same of a GPU; without either, no limit
  uint64_t disk_shortfall_bytes() const;
  uint64_t memory_shortfall_bytes() const;
};

std::string_view part_name(Part part);  // "text", "mtp", "visual"

Json to_json(const Plan& plan);
// A table for people, with line ends.
std::string plan_text(const Plan& plan);
// Throws Error of kind `resource` when disk or memory do not suffice.
void check_resources(const Plan& plan);

}  // namespace qround::quant
