#include "quant/scheme.h"

#include <fmt/format.h>

#include "base/error.h"

namespace qround::quant {

std::string Scheme::name() const { return fmt::format("W{}A16 g{}", kBits, group_size); }

void check_scheme(const Scheme& scheme) {
  if (scheme.group_size == 32 || scheme.group_size == 64 || scheme.group_size == 128) return;
  throw Error("the group size is not supported")
      .expected("32, 64 or 128")
      .actual(fmt::format("{}", scheme.group_size));
}

}  // namespace qround::quant
