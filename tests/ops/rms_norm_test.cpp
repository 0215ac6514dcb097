#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
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

std::vector<float> run(Norm norm, const OpTable& table, const Operands& operands, int threads,
                       bool in_place = false) {
  OnBackend on(table, threads);
  const RmsNormShape shape{.rows = operands.rows, .width = operands.width, .eps = 1e-6f};
  auto x = on.copy_of(operands.x), separate = on.nans(operands.x.size());
  const auto gate = on.copy_of(operands.gate), weight = on.copy_of(operands.weight);
  auto& y = in_place ? x : separate;
  switch (norm) {
    case Norm::zero_centered:
      table.zero_centered_rms_norm(x.data(), weight.data(), shape, y.data(), on.context);
      break;
    case Norm::gated:
      table.gated_rms_norm(x.data(), gate.data(), weight.data(), shape, y.data(), on.context);
      break;
    case Norm::l2:
      table.l2_norm(x.data(), shape.rows, shape.width, 0.25f, y.data(), on.context);
      break;
  }
  return y.to_vector();
}

class RmsNorm : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(RmsNorm);

TEST_P(RmsNorm, EqualsDefinitionOnOddShapes) {
  uint64_t seed = 1;
  for (const Norm norm : kNorms)
    for (const int64_t rows : {1, 2, 3, 7, 65, 130})
      for (const int64_t width : {1, 8, 37, 128, 256, 2048})
        for (const float size : {1e-4f, 1.0f, 1e4f}) {
          SCOPED_TRACE(testing::Message() << static_cast<int>(norm) << " rows " << rows << " width "
                                          << width << " size " << size);
          RandomValues random(seed++);
          const Operands operands(rows, width, random, size);
          const auto expected = run(norm, ref_table(), operands, 1);
          // Every y is x times a common factor whose sum has `width` positive terms.
          std::vector<float> tolerances;
          for (float y : expected)
            tolerances.push_back(sum_tolerance(width, std::abs(y)) + 16 * kEps * std::abs(y) +
                                 std::numeric_limits<float>::min());
          expect_close(run(norm, table(), operands, 2), expected, tolerances, random.seed());
        }
}

TEST_P(RmsNorm, BitsDependNeitherOnThreadsNorOnWritingInPlace) {
  RandomValues random(2);
  for (const Norm norm : kNorms) {
    const Operands operands(200, 300, random);
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run(norm, table(), operands, threads); });
    EXPECT_EQ(run(norm, table(), operands, 2, true), run(norm, table(), operands, 2));
  }
}

TEST_P(RmsNorm, L2AddsItsEpsilonToTheSumAndZeroCenteredToTheMean) {
  for (const OpTable* each : {&ref_table(), &table()}) {
    OnBackend on(*each, 1);
    const auto x = on.copy_of(std::vector<float>(4, 1e-3f));
    const auto weight = on.copy_of(std::vector<float>(4, 1.0f));
    auto y = on.nans(4);
    each->l2_norm(x.data(), 1, 4, 1, y.data(), on.context);
    EXPECT_NEAR(y.to_vector()[0], 1e-3 / std::sqrt(4e-6 + 1e-6), 1e-6);
    each->zero_centered_rms_norm(x.data(), weight.data(), {.rows = 1, .width = 4, .eps = 1e-6f},
                                 y.data(), on.context);
    EXPECT_NEAR(y.to_vector()[0], 2 * 1e-3 / std::sqrt(1e-6 + 1e-6), 1e-6);
  }
}

}  // namespace
}  // namespace qround::ops
