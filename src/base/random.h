// Random numbers without hidden state: each is a function of (seed, stream, counter), so that a run
// can be repeated, resumed or split over threads without changing its numbers.
#pragma once

#include <cstdint>

namespace qround {

// The finalizer of splitmix64 (Steele, Lea, Flood 2014) over the three words.
constexpr uint64_t mix_bits(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

constexpr uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t counter) {
  return mix_bits(mix_bits(mix_bits(seed) ^ stream) ^ counter);
}

// In [0, 1).
constexpr double random_unit(uint64_t seed, uint64_t stream, uint64_t counter) {
  return static_cast<double>(random_bits(seed, stream, counter) >> 11) * 0x1p-53;
}

}  // namespace qround
