// The number format linear maps are quantized to.
#pragma once

#include <cstdint>
#include <string>

namespace qround::quant {

// 4-bit weights, 16-bit activations; symmetric, signed f16 scales, one for group_size inputs.
struct Scheme {
  int64_t group_size = 128;

  static constexpr int kBits = 4;
  std::string name() const;  // "W4A16 g128"

  friend bool operator==(const Scheme&, const Scheme&) = default;
};

// Throws Error unless every reader of the format supports the group size: 32, 64 or 128.
void check_scheme(const Scheme& scheme);

}  // namespace qround::quant
