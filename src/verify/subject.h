// What the rules look at: an opened checkpoint, described by the table of its config.json.
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "base/progress.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/quantization_config.h"
#include "model/model_config.h"
#include "model/tensor_table.h"
#include "verify/quantization_names.h"

namespace qround::verify {

// In which form the checkpoint keeps a parameter, by the names of its tensors alone.
enum class Form {
  absent,
  dense,    // its own tensor
  fused,    // in the tensor of all experts of its layer
  int4,     // qweight, with or without the others
  several,  // more than one of these
};

struct StoredForm {
  const Parameter* parameter = nullptr;
  Form form = Form::absent;
};

struct ConsumerLoading;
struct WeightScan;

struct Subject {
  const Checkpoint& checkpoint;
  const Checkpoint* source = nullptr;  // null: unknown; rules that need it are not checked
  const ModelConfig& model;
  const TensorTable& table;
  std::vector<int64_t> tps;                  // sizes of tensor parallelism that the rules check
  std::vector<StoredForm> forms;             // parallel to table.parameters()
  std::optional<QuantizationConfig> config;  // absent when missing or unreadable: a rule says so
  Json quantization;                         // the object as it stands in the file; null: none
  QuantizationNames names;                   // of it
  Threads threads;
  // There when rules run.
  const std::vector<ConsumerLoading>* loadings = nullptr;  // of all consumers
  const WeightScan* weights = nullptr;
  Progress& progress;
  const std::atomic<bool>* stop = nullptr;  // true: the user wants to stop; may be null

  Form form_of(const Parameter& parameter) const;  // of the table
  bool is_gptq() const;                            // quant_method "gptq": other rules for names
  Int4Format int4_format() const;
  bool rounds_to_nearest() const;  // the config says that no rounding was learned
  bool searched_scales() const;    // the config says that scales need not reach the extremes
  void check_stop() const;         // throws Error of kind `interrupted`
};

std::vector<StoredForm> stored_forms(const Checkpoint& checkpoint, const TensorTable& table);

}  // namespace qround::verify
