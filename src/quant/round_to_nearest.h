// Plain rounding of whole linear maps: the rule of ops/full_range_int4.h without tuned parameters.
#pragma once

#include <functional>

#include "base/threads.h"
#include "ops/backend.h"
#include "quant/packed_batch.h"

namespace qround::quant {

// Fills the batch from the items' weights with the backend's quantize_rtn. Codes and scales depend
// neither on it nor on the number of threads. Throws Error naming tensor and element of the first
// weight that is not finite, or is too large for an f16 scale.
void round_to_nearest(PackedBatch& batch, const ops::OpTable& ops, Threads threads);

// The same with another rounding of rows, of operands in `memory`; on hosts several threads call it
// at the same time.
using RowRounding = std::function<ops::RtnSums(const ops::DenseWeight&, const ops::RtnRows&)>;
void round_rows(PackedBatch& batch, const RowRounding& rounding, const ops::Memory& memory,
                Threads threads);

}  // namespace qround::quant
