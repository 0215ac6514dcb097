// The mixture of experts with inputs rounded to 8 bits: Activations::int8 of ops/linear.h.
#pragma once

#include "ops/cpu/expert_grouping.h"

namespace qround::ops::cpu {

// Whether all maps of the touched experts are int4 in one shape that the kernels take.
bool experts_take_int8_inputs(const ExpertsArgs& args, const ExpertGrouping& grouping);

void experts_int8(const ExpertsArgs& args, const ExpertGrouping& grouping,
                  const OpContext& context);

}  // namespace qround::ops::cpu
