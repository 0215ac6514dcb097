#include "ops/mixture_of_experts.h"

namespace qround::ops {

ExpertGroups group_by_expert(const int32_t* experts, int64_t tokens, int64_t n_chosen,
                             int64_t n_experts) {
  ExpertGroups groups;
  groups.begin.assign(static_cast<size_t>(n_experts + 1), 0);
  groups.choices.resize(static_cast<size_t>(tokens * n_chosen));
  for (int64_t choice = 0; choice < tokens * n_chosen; ++choice)
    ++groups.begin[static_cast<size_t>(experts[choice]) + 1];
  for (size_t expert = 1; expert < groups.begin.size(); ++expert)
    groups.begin[expert] += groups.begin[expert - 1];
  std::vector<int64_t> next(groups.begin.begin(), groups.begin.end() - 1);
  for (int64_t choice = 0; choice < tokens * n_chosen; ++choice) {
    const auto row = next[static_cast<size_t>(experts[choice])]++;
    groups.choices[static_cast<size_t>(row)] = static_cast<int32_t>(choice);
  }
  return groups;
}

}  // namespace qround::ops
