#pragma once

#include "ops/graphs.h"

namespace qround::ops::cuda {

extern const Graphs kGraphs;

}  // namespace qround::ops::cuda
