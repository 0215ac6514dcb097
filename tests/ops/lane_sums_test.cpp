#include "ops/lane_sums.h"

#include <gtest/gtest.h>

#include <vector>

#include "ops/backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

TEST(LaneSums, HaveTheBitsOfTheDefinitionOnEveryTarget) {
  RandomValues random(1);
  for (const int64_t count : {0, 1, 7, 1000}) {
    const std::vector<float> factors = random.normal(count), start = random.normal(kSumLanes);
    const std::vector<float> values = random.normal(count * kSumLanes);
    std::vector<float> expected = start;
    ref::add_lane_products(factors.data(), values.data(), count, expected.data());
    for (const std::string& target : simd_targets()) {
      force_simd_target(target);
      std::vector<float> actual = start;
      cpu::add_lane_products(factors.data(), values.data(), count, actual.data());
      EXPECT_EQ(actual, expected) << target << ", " << count;
    }
    force_simd_target("");
  }
}

}  // namespace
}  // namespace qround::ops
