// Choices (a token and one of its slots) sorted by expert, so that each touched expert's weights
// are read once.
#pragma once

#include <cstdint>
#include <span>

#include "ops/mixture_of_experts.h"

namespace qround::ops::cpu {

struct ExpertGrouping {
  struct Group {
    int32_t expert = 0, begin = 0, end = 0;  // places of its choices in sorted order

    int64_t rows() const { return end - begin; }
  };
  std::span<Group> groups;       // one for each touched expert
  std::span<int32_t> choice_at;  // [T * A] place -> choice
  std::span<int32_t> place_of;   // [T * A] choice -> place
};

ExpertGrouping sort_by_expert(const ExpertsArgs& args, Workspace::Scope& scope);

}  // namespace qround::ops::cpu
