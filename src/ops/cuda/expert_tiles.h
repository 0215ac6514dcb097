// How blocks of a grouped product find their rows: (token, slot) pairs lie sorted by expert, and
// which expert has how many is known on the device alone. A table of tiles is made there; a launch
// has a block for as many tiles as there can be, and those without rows end at once.
#pragma once

#include <span>

#include "ops/cuda/bf16_matrix.h"
#include "ops/mixture_of_experts.h"

namespace qround::ops::cuda {

// Tables of pointers go to kernels as parameters, of which there may be 32764 bytes.
inline constexpr int kMaxExperts = 512;

// Grouped rows [first, first + rows) belong to `expert`. No rows: nothing to do.
struct ExpertTile {
  int32_t expert = 0, first = 0, rows = 0;
};

struct ExpertTiles {
  const ExpertTile* tiles = nullptr;
  int64_t count = 0;  // entries, those without rows included
};

// Tiles of up to `tile_rows` of the T * A grouped rows; memory from `scope`.
ExpertTiles make_expert_tiles(const int64_t* begin, int64_t n_experts, int64_t grouped_rows,
                              int tile_rows, Workspace::Scope& scope, const OpContext& context);

// One of the three matrices of every expert in BF16; all have the same shape.
struct ExpertMatrices {
  const uint16_t* data[kMaxExperts]{};
  int64_t rows = 0, columns = 0, stride = 0;
  bool aligned = true;
};

// Throws Error for more experts than kMaxExperts.
ExpertMatrices expert_matrices(std::span<const SwigluWeights> experts,
                               Weight SwigluWeights::* which, Workspace::Scope& scope,
                               const OpContext& context);

// out[t][first_column + c] (+)= sum over slots, in their order, of weights[t][slot] (null: 1) *
// rows[t * A + slot][c]: how what experts say of a token comes together, always in the same order.
struct CombineArgs {
  const float* rows = nullptr;     // [T * A, columns] by choice
  const float* weights = nullptr;  // [T, A] or null
  float* out = nullptr;            // [T, width]
  int64_t tokens = 0, n_chosen = 0;
  int64_t columns = 0, first_column = 0, width = 0;
  bool add_to_out = false;
};
void combine_choices(const CombineArgs& args, const OpContext& context);

// Columns of [T * A, width] results that are made at a time: at most 256 MB of them.
int64_t columns_at_once(int64_t grouped_rows, int64_t width);

}  // namespace qround::ops::cuda
