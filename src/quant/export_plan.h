// What a job reads and writes, in order: the data every stage of it walks through.
//
// Steps are the blocks of the network, in the order of the forward pass, with what stands before,
// between and after them; a learned rounding works on one step at a time. Order and names depend on
// config.json, the source's headers and the policy alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gptq_int4.h"
#include "checkpoint/safetensors_layout.h"
#include "model/stored_parameter.h"
#include "model/tensor_table.h"
#include "quant/policy.h"

namespace qround::quant {

// A linear map that becomes int4, or a tensor that is copied byte for byte.
struct ExportItem {
  const Parameter* linear = nullptr;  // null: copied
  std::string name;                   // of the module; of the tensor when copied
  TensorView source;                  // in the source's mapping: [N, K], or the bytes to copy
  TensorEntry pages;                  // where `source` lies, for prefetch and release
  Int4Shape shape;                    // of the int4 tensors; unused when copied

  uint64_t written_bytes() const;
  std::vector<std::string> written_names() const;  // in the order they are written
};

struct ExportStep {
  std::string label;  // "layer 3", "MTP layer 0", "embedding", ...
  Part part = Part::text;
  int64_t block = -1;  // -1: outside the blocks
  std::vector<ExportItem> items;
};

// Whether a linear map of the step becomes int4.
bool has_int4(const ExportStep& step);

struct ExportPlan {
  std::vector<ExportStep> steps;
  uint64_t source_bytes = 0;

  std::vector<TensorSpec> tensors() const;  // all that is written, in order
};

// Linear maps that follow one another and are rounded and written together: as many as bring their
// int4 tensors to kBatchBytes. Or one tensor to copy.
inline constexpr uint64_t kBatchBytes = uint64_t{8} << 20;
std::vector<std::span<const ExportItem>> batches(const ExportStep& step);

// Names of the tensors of an int4 linear.
std::string qweight_name(std::string_view module);
std::string qzeros_name(std::string_view module);
std::string scales_name(std::string_view module);

// Kept tensors keep name and form, with one exception: fused experts of text blocks are written one
// expert at a time, because readers of quantized checkpoints expect that form. `unknown` are
// tensors the table does not name (CheckpointCensus); they are copied last. Throws Error listing up
// to ten linear maps that are quantized already.
ExportPlan plan_export(const Checkpoint& source, const std::vector<Decision>& decisions,
                       const std::vector<std::string>& unknown, const Scheme& scheme);

}  // namespace qround::quant
