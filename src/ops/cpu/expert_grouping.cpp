#include "ops/cpu/expert_grouping.h"

#include <algorithm>

namespace qround::ops::cpu {

ExpertGrouping sort_by_expert(const ExpertsArgs& args, Workspace::Scope& scope) {
  const auto n_choices = static_cast<size_t>(args.tokens * args.n_chosen);
  const size_t n_experts = args.expert_weights.size();
  ExpertGrouping grouping{
      .groups = scope.take<ExpertGrouping::Group>(std::min(n_experts, n_choices)),
      .choice_at = scope.take<int32_t>(n_choices),
      .place_of = scope.take<int32_t>(n_choices)};
  const auto next = scope.take<int32_t>(n_experts);
  std::fill(next.begin(), next.end(), 0);
  for (size_t choice = 0; choice < n_choices; ++choice) ++next[args.experts[choice]];
  size_t n_groups = 0;
  int32_t place = 0;
  for (size_t expert = 0; expert < n_experts; ++expert) {
    const int32_t count = next[expert];
    next[expert] = place;
    if (count == 0) continue;
    grouping.groups[n_groups++] = {static_cast<int32_t>(expert), place, place + count};
    place += count;
  }
  grouping.groups = grouping.groups.first(n_groups);
  for (size_t choice = 0; choice < n_choices; ++choice) {
    const int32_t at = next[args.experts[choice]]++;
    grouping.choice_at[at] = static_cast<int32_t>(choice);
    grouping.place_of[choice] = at;
  }
  return grouping;
}

}  // namespace qround::ops::cpu
