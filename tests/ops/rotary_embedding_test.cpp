#include "ops/rotary_embedding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t tokens, heads, head_dim, rotary_dim;
};

std::vector<float> frequencies(int64_t rotary_dim) {
  std::vector<float> values;
  for (int64_t i = 0; i < rotary_dim / 2; ++i)
    values.push_back(
        std::pow(1e7f, -2.0f * static_cast<float>(i) / static_cast<float>(rotary_dim)));
  return values;
}

std::vector<float> run(const OpTable& table, const std::vector<float>& values, const Shape& shape,
                       int64_t first_position, int threads) {
  OnBackend on(table, threads);
  std::vector<int64_t> positions(static_cast<size_t>(shape.tokens));
  std::iota(positions.begin(), positions.end(), first_position);
  auto x = on.copy_of(values);
  const auto at = on.copy_of(positions);
  const auto inverse_frequencies = on.copy_of(frequencies(shape.rotary_dim));
  table.rotary_embedding({.x = x.data(),
                          .positions = at.data(),
                          .inverse_frequencies = inverse_frequencies.data(),
                          .tokens = shape.tokens,
                          .heads = shape.heads,
                          .head_dim = shape.head_dim,
                          .rotary_dim = shape.rotary_dim},
                         on.context);
  return x.to_vector();
}

class RotaryEmbedding : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(RotaryEmbedding);

TEST_P(RotaryEmbedding, EqualsDefinitionOnHostsBitForBit) {
  RandomValues random(1);
  for (const Shape& shape : {Shape{1, 16, 256, 64}, {2, 1, 8, 8}, {65, 3, 20, 6}, {300, 4, 64, 16}})
    for (const int64_t first : {0, 1000, 262000}) {
      const auto x = random.normal(shape.tokens * shape.heads * shape.head_dim);
      const auto expected = run(ref_table(), x, shape, first, 1);
      for (int threads : {1, 2, 3}) {
        const auto actual = run(table(), x, shape, first, threads);
        // A device's sine and cosine are a unit or two in the last place of 1 off.
        if (table().memory->is_host)
          EXPECT_EQ(actual, expected);
        else
          expect_close(actual, expected, 8 * kEps * 6, random.seed());
      }
    }
}

TEST_P(RotaryEmbedding, RotatesPairsHalfTheRotaryDimensionsApartAndLeavesTheRest) {
  const Shape shape{.tokens = 1, .heads = 1, .head_dim = 6, .rotary_dim = 4};
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  for (const OpTable* each : {&ref_table(), &table()}) {
    const auto y = run(*each, x, shape, 2, 1);
    EXPECT_NEAR(y[0], 1 * std::cos(2.0) - 3 * std::sin(2.0), 1e-6);
    EXPECT_NEAR(y[2], 3 * std::cos(2.0) + 1 * std::sin(2.0), 1e-6);
    const double slow = 2 * std::pow(1e7, -0.5);
    EXPECT_NEAR(y[1], 2 * std::cos(slow) - 4 * std::sin(slow), 1e-6);
    EXPECT_NEAR(y[3], 4 * std::cos(slow) + 2 * std::sin(slow), 1e-6);
    EXPECT_EQ(y[4], 5);
    EXPECT_EQ(y[5], 6);
  }
}

TEST_P(RotaryEmbedding, PositionZeroChangesNothing) {
  RandomValues random(2);
  const Shape shape{.tokens = 1, .heads = 2, .head_dim = 16, .rotary_dim = 8};
  const auto x = random.normal(32);
  EXPECT_EQ(run(table(), x, shape, 0, 1), x);
}

}  // namespace
}  // namespace qround::ops
