// Rounding to nearest with searched scales (ops/search_rtn.h) of whole linear maps.
#pragma once

#include "base/threads.h"
#include "ops/backend.h"
#include "quant/importance.h"
#include "quant/packed_batch.h"
#include "quant/rounding_state.h"

namespace qround::quant {

// Fills the batch from the items' weights, all inputs alike in importance. Codes and scales depend
// neither on the backend nor on the number of threads. Throws as round_to_nearest.
void round_by_search(PackedBatch& batch, ops::ScaleGrid grid, const ops::OpTable& ops,
                     Threads threads);

// The rounding of a block's maps, each by the importance of its inputs, where the state lies.
RoundingSnapshot search_rounding(const RoundingState& state, const Importance& importance,
                                 ops::ScaleGrid grid, const ops::OpTable& ops);

// Codes and scales of some rows of a map, in host memory.
struct RoundedRows {
  std::vector<uint8_t> codes;    // [rows, K]
  std::vector<uint16_t> scales;  // [rows, K / G] f16 bits
};
// Those of rows [begin, end), on the device's copy of the weights where `ops` works there.
RoundedRows search_rows(const RoundingState& state, size_t linear_idx, int64_t begin, int64_t end,
                        const Importance& importance, ops::ScaleGrid grid, const ops::OpTable& ops);

}  // namespace qround::quant
