// Seeded random operands for the tests of operations.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace qround::ops {

// Every test draws from one generator; a failure prints its seed.
class RandomValues {
 public:
  explicit RandomValues(uint64_t seed) : seed_(seed), generator_(seed) {}

  uint64_t seed() const { return seed_; }

  std::vector<float> normal(int64_t count, float scale = 1) {
    std::normal_distribution<float> distribution(0, scale);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = distribution(generator_);
    return values;
  }

  std::vector<float> uniform(int64_t count, float low, float high) {
    std::uniform_real_distribution<float> distribution(low, high);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = distribution(generator_);
    return values;
  }

  uint32_t bits() { return static_cast<uint32_t>(generator_()); }

 private:
  uint64_t seed_;
  std::mt19937_64 generator_;
};

}  // namespace qround::ops
