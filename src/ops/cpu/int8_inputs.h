// Inputs of linear maps rounded to 8 bits by row and group (Activations::int8 in ops/linear.h), in
// the order in which the nibbles of int4 weights are taken apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::cpu {

// The longest group whose codes the kernels keep in the first-level cache.
inline constexpr int64_t kMaxInt8Group = 256;

// Whether the kernels of rounded inputs take this weight (without_trivial_g_idx).
inline bool takes_int8_inputs(const Int4Weight& weight) {
  return weight.g_idx == nullptr && weight.group_size % 8 == 0 &&
         weight.group_size <= kMaxInt8Group;
}

struct Int8Inputs {
  // [groups][rows][group_size], group by group so that the rows of a tile stand close together; of
  // every eight inputs the even ones come first.
  std::span<int8_t> codes;
  std::span<float> scales;  // [groups][rows]
  std::span<float> sums;    // [groups][rows], of the codes
  int64_t rows = 0, k = 0, group_size = 0;

  int64_t groups() const { return (k + group_size - 1) / group_size; }
  const int8_t* codes_of(int64_t group, int64_t row) const {
    return codes.data() + (group * rows + row) * group_size;
  }
};

// Memory for `rows` rows of k inputs.
Int8Inputs take_int8_inputs(Workspace::Scope& scope, int64_t rows, int64_t k, int64_t group_size);

// Rounds row `row` of `inputs`, whose values are x [k].
void round_to_int8(const float* x, int64_t row, const Int8Inputs& inputs);

}  // namespace qround::ops::cpu
