// out = silu(gate) * up on one thread, for operations that fuse it. out may be gate or up.
#pragma once

#include <cstdint>

namespace qround::ops::cpu {

void swiglu_values(const float* gate, const float* up, int64_t count, float* out);

}  // namespace qround::ops::cpu
