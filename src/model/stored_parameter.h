// Where and in which form a checkpoint keeps a parameter of the table.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/problem_list.h"
#include "base/tensor_view.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gptq_int4.h"
#include "model/tensor_table.h"
#include "ops/weight.h"

namespace qround {

// Absent, dense (its own tensor, or the rows of a fused one), or int4.
using StoredParameter = std::variant<std::monostate, TensorView, Int4Tensors>;

// Throws Error when shapes or dtypes contradict the table. Both forms at once are an Error too.
StoredParameter find_stored(const Checkpoint& checkpoint, const Parameter& parameter);
bool is_stored(const Checkpoint& checkpoint, const Parameter& parameter);

// The same, but an absent parameter is an Error naming it.
ops::Weight stored_weight(const Checkpoint& checkpoint, const Parameter& parameter);
std::vector<float> stored_values(const Checkpoint& checkpoint, const Parameter& parameter);

// Names of the tensors that hold the parameter: one, or qweight, qzeros, scales (and g_idx); empty
// when absent.
std::vector<std::string> stored_tensors(const Checkpoint& checkpoint, const Parameter& parameter);

// What a checkpoint holds, compared with its table.
struct CheckpointCensus {
  bool has_mtp = false;  // the table names MTP parameters and all of them are stored
  bool has_visual = false;
  std::vector<std::string> unknown;  // tensors the table does not name, in the checkpoint's order
};

// Throws one Error listing up to ten problems: missing parameters, wrong shapes or dtypes. The text
// part must be complete; MTP and vision parameters may be absent altogether, but not in part.
CheckpointCensus check_against_table(const Checkpoint& checkpoint, const TensorTable& table);

}  // namespace qround
