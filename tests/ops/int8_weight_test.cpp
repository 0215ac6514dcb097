// Weights held as int8, with every kind of vector instructions.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/linear.h"
#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

struct RandomInt8 {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  Int8Weight weight;

  // The largest codes throughout, where 16-bit sums of products would overflow, if `extreme`.
  RandomInt8(int64_t n, int64_t k, int64_t group_size, RandomValues& random, bool extreme = false)
      : scales(random.normal(n * (k / group_size), 0.1f)) {
    for (int64_t i = 0; i < n * k; ++i)
      codes.push_back(static_cast<int8_t>(extreme ? 127 : random.bits() % 255 - 127));
    weight = {codes.data(), scales.data(), n, k, group_size};
  }
};

std::vector<float> run(const OpTable& table, const Weight& weight, const std::vector<float>& x,
                       int threads, Activations activations = Activations::int8) {
  Workspace workspace;
  const auto rows = static_cast<int64_t>(x.size()) / inputs(weight);
  std::vector<float> y(static_cast<size_t>(rows * outputs(weight)), NAN);
  table.linear(weight, x.data(), rows, y.data(),
               {.threads = {threads}, .workspace = workspace, .activations = activations});
  return y;
}

class Int8Weights : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_simd_target(GetParam()); }
  void TearDown() override { force_simd_target(""); }
  const OpTable& cpu_ = select_backend("cpu");
};

TEST_P(Int8Weights, EqualDefinition) {
  RandomValues random(1);
  const struct {
    int64_t n, k, group_size;
  } shapes[] = {{1, 64, 64}, {3, 128, 128}, {70, 384, 128}, {130, 256, 64}, {9, 2048, 128}};
  for (const auto& s : shapes)
    for (const int64_t rows : {1, 2, 3, 4, 5, 70})
      for (const bool extreme : {false, true}) {
        SCOPED_TRACE(testing::Message() << s.n << " x " << s.k << ", " << rows << " rows");
        const RandomInt8 w(s.n, s.k, s.group_size, random, extreme);
        auto x = random.normal(rows * s.k);
        if (extreme) std::fill(x.begin(), x.end(), -2.0f);
        const float magnitude = 127 * norm(w.scales) * 3 * std::sqrt(static_cast<float>(s.k));
        // Equal terms are rounded to the same side, step after step.
        const float tolerance =
            extreme ? static_cast<float>(s.k) * kEps * magnitude : sum_tolerance(s.k, magnitude);
        expect_close(run(cpu_, w.weight, x, 2), run(ref_table(), w.weight, x, 1), tolerance,
                     random.seed());
      }
}

TEST_P(Int8Weights, ARowsBitsDependNeitherOnItsNeighboursNorOnThreads) {
  RandomValues random(2);
  const RandomInt8 w(150, 256, 128, random);
  const auto x = random.normal(70 * 256);
  const auto together = run(cpu_, w.weight, x, 1);
  EXPECT_EQ(run(cpu_, w.weight, x, 3), together);
  for (const int64_t rows : {1, 2, 3, 5, 9})
    for (const int64_t first : {0, 1, 30}) {
      const std::vector<float> part(x.begin() + first * 256, x.begin() + (first + rows) * 256);
      const auto alone = run(cpu_, w.weight, part, 1);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + first * 150));
    }
}

class Int8WeightsOfF32Inputs : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Int8WeightsOfF32Inputs);

TEST_P(Int8WeightsOfF32Inputs, EqualDefinition) {
  RandomValues random(3);
  const RandomInt8 w(20, 128, 64, random);
  const auto x = random.normal(2 * 128);
  OnBackend on(table(), 2);
  const WeightOnBackend there(w.weight, on.memory);
  const auto x_there = on.copy_of(x);
  auto y = on.nans(2 * 20);
  table().linear(there.weight(), x_there.data(), 2, y.data(), on.context);
  const float magnitude = 127 * norm(w.scales) * norm(x);
  expect_close(y.to_vector(), run(ref_table(), w.weight, x, 1, Activations::f32),
               sum_tolerance(128, magnitude) + 2 * factor_rounding(table()) * magnitude,
               random.seed());
}

INSTANTIATE_TEST_SUITE_P(, Int8Weights, testing::ValuesIn(simd_targets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace qround::ops
