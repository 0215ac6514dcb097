// Which int4 weights the fast kernels take as they lie.
#pragma once

#include "ops/weight.h"

namespace qround::ops::cpu {

// Whole words of qweight share a group, so that a kernel can walk group by group.
inline bool has_word_groups(const Int4Weight& weight) {
  return weight.g_idx == nullptr && weight.group_size % 8 == 0;
}

// The same weight without a g_idx that only says k / group_size, as most files that carry one do.
inline Weight without_trivial_g_idx(const Weight& weight) {
  const auto* int4 = std::get_if<Int4Weight>(&weight);
  if (int4 == nullptr || int4->g_idx == nullptr) return weight;
  for (int64_t k = 0; k < int4->k; ++k)
    if (int4->g_idx[k] != k / int4->group_size) return weight;
  Int4Weight plain = *int4;
  plain.g_idx = nullptr;
  return plain;
}

}  // namespace qround::ops::cpu
