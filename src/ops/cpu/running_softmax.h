// The running softmax of one query row while the keys pass in blocks.
#pragma once

#include <limits>

namespace qround::ops::cpu {

struct RunningSoftmax {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;  // of exp(score - maximum)
};

}  // namespace qround::ops::cpu
