#pragma once

namespace qround {

inline constexpr const char* kVersion = QROUND_VERSION;

}  // namespace qround
