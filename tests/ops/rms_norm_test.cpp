#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

enum class Norm { zero_centered, gated, l2 };
constexpr Norm kNorms[] = {Norm::zero_centered, Norm::gated, Norm::l2};

struct Operands {
  int64_t rows, width;
  std::vector<float> x, gate, weight;

  Operands(int64_t rows_, int64_t width_, RandomValues& random, float size = 1)
      : rows(rows_),
        width(width_),
        x(random.normal(rows_ * width_, size)),
        gate(random.normal(rows_ * width_, 3)),
        weight(random.normal(width_)) {}
};

std::vector<float> run(Norm norm, bool fast, Operands operands, int threads,
                       bool in_place = false) {
  Workspace workspace;
  const OpContext context{.threads = {threads}, .workspace = workspace};
  const RmsNormShape shape{.rows = operands.rows, .width = operands.width, .eps = 1e-6f};
  std::vector<float> separate(operands.x.size(), NAN);
  float* y = in_place ? operands.x.data() : separate.data();
  const float *x = operands.x.data(), *weight = operands.weight.data();
  switch (norm) {
    case Norm::zero_centered:
      (fast ? cpu::zero_centered_rms_norm : ref::zero_centered_rms_norm)(x, weight, shape, y,
                                                                         context);
      break;
    case Norm::gated:
      (fast ? cpu::gated_rms_norm : ref::gated_rms_norm)(x, operands.gate.data(), weight, shape, y,
                                                         context);
      break;
    case Norm::l2:
      (fast ? cpu::l2_norm : ref::l2_norm)(x, shape.rows, shape.width, 0.25f, y, context);
      break;
  }
  return in_place ? operands.x : separate;
}

TEST(RmsNorm, FastVersionEqualsDefinitionOnOddShapes) {
  uint64_t seed = 1;
  for (const Norm norm : kNorms)
    for (const int64_t rows : {1, 2, 3, 7, 65, 130})
      for (const int64_t width : {1, 8, 37, 128, 256, 2048})
        for (const float size : {1e-4f, 1.0f, 1e4f}) {
          SCOPED_TRACE(testing::Message() << static_cast<int>(norm) << " rows " << rows << " width "
                                          << width << " size " << size);
          RandomValues random(seed++);
          const Operands operands(rows, width, random, size);
          const auto expected = run(norm, false, operands, 1);
          // Every y is x times a common factor whose sum has `width` positive terms.
          std::vector<float> tolerances;
          for (float y : expected)
            tolerances.push_back(sum_tolerance(width, std::abs(y)) + 16 * kEps * std::abs(y) +
                                 std::numeric_limits<float>::min());
          expect_close(run(norm, true, operands, 2), expected, tolerances, random.seed());
        }
}

TEST(RmsNorm, BitsDependNeitherOnThreadsNorOnWritingInPlace) {
  RandomValues random(2);
  for (const Norm norm : kNorms) {
    const Operands operands(200, 300, random);
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run(norm, true, operands, threads); });
    EXPECT_EQ(run(norm, true, operands, 2, true), run(norm, true, operands, 2));
  }
}

TEST(RmsNorm, L2AddsItsEpsilonToTheSumAndZeroCenteredToTheMean) {
  Workspace workspace;
  const OpContext context{.threads = {1}, .workspace = workspace};
  const std::vector<float> x(4, 1e-3f), weight(4, 1.0f);
  std::vector<float> y(4);
  for (auto* l2_norm : {ref::l2_norm, cpu::l2_norm}) {
    l2_norm(x.data(), 1, 4, 1, y.data(), context);
    EXPECT_NEAR(y[0], 1e-3 / std::sqrt(4e-6 + 1e-6), 1e-6);
  }
  for (auto* rms_norm : {ref::zero_centered_rms_norm, cpu::zero_centered_rms_norm}) {
    rms_norm(x.data(), weight.data(), {.rows = 1, .width = 4, .eps = 1e-6f}, y.data(), context);
    EXPECT_NEAR(y[0], 2 * 1e-3 / std::sqrt(1e-6 + 1e-6), 1e-6);
  }
}

}  // namespace
}  // namespace qround::ops
