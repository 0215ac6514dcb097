// Linear maps with inputs rounded to 8 bits, on every vector target of this machine.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/backend.h"
#include "ops/linear.h"
#include "tests/ops/expect_close.h"
#include "tests/ops/random_weight.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t n, k, group_size;
};

// Sizes beside the widths of vectors, strips, tiles, passes and segments.
constexpr Shape kShapes[] = {{8, 32, 32},     {64, 64, 32},    {72, 96, 32},    {128, 320, 64},
                             {136, 512, 128}, {200, 264, 8},   {257, 40, 40},   {2056, 384, 128},
                             {16, 2304, 128}, {24, 160, 160},  {33, 136, 64},   {1024, 1024, 128},
                             {40, 512, 256},  {4160, 256, 64}, {1032, 1088, 32}};
constexpr int64_t kRows[] = {1, 2, 3, 4, 5, 6, 7, 13, 65};
constexpr WeightFormat kInt4Formats[] = {WeightFormat::int4, WeightFormat::int4_zeros,
                                         WeightFormat::int4_v2, WeightFormat::int4_g_idx};

std::vector<float> run(LinearFunction* linear, const Weight& weight, const std::vector<float>& x,
                       int64_t rows, int threads, Activations activations = Activations::int8) {
  Workspace workspace;
  std::vector<float> y(static_cast<size_t>(rows * outputs(weight)), NAN);
  linear(weight, x.data(), rows, y.data(),
         {.threads = {threads}, .workspace = workspace, .activations = activations});
  return y;
}

// Bounds of sums over k of |w[n][k]| times a value per group and row.
template <class OfGroup>
std::vector<float> weighted_bounds(const Weight& weight, const std::vector<float>& x, int64_t rows,
                                   const OfGroup& of_group) {
  const int64_t n = outputs(weight), k = inputs(weight);
  const int64_t group_size = std::get<Int4Weight>(weight).group_size;
  std::vector<float> w(static_cast<size_t>(n * k)), result;
  ref::dequantize_rows(weight, 0, n, w.data());
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t row = 0; row < n; ++row) {
      double bound = 0;
      for (int64_t begin = 0; begin < k; begin += group_size) {
        const int64_t end = std::min(k, begin + group_size);
        float largest = 0, sum = 0;
        for (int64_t i = begin; i < end; ++i) {
          largest = std::max(largest, std::abs(x[static_cast<size_t>(t * k + i)]));
          sum += std::abs(w[static_cast<size_t>(row * k + i)]);
        }
        bound += sum * of_group(largest);
      }
      result.push_back(static_cast<float>(bound));
    }
  return result;
}

class EveryTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    force_simd_target(GetParam());
    ASSERT_EQ(simd_target(), GetParam());
  }
  void TearDown() override { force_simd_target(""); }
};

class LinearInt8 : public EveryTarget {};

TEST_P(LinearInt8, FastVersionEqualsDefinition) {
  uint64_t seed = 1;
  for (const WeightFormat format : kInt4Formats)
    for (const Shape& shape : kShapes)
      for (const int64_t rows : kRows) {
        if (shape.n * shape.k * rows > 150000) continue;  // the definition is slow
        SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << " N " << shape.n
                                        << " K " << shape.k << " rows " << rows);
        RandomValues random(seed++);
        const RandomWeight w(format, shape.n, shape.k, random, shape.group_size);
        const auto x = random.normal(rows * shape.k);
        // Both sum in f32; the integer sums may exceed the weighted ones by the zeros they carry.
        auto tolerance = weighted_bounds(w.weight(), x, rows, [&](float largest) {
          return 4 * kEps * largest * std::sqrt(static_cast<float>(shape.k));
        });
        expect_close(run(cpu::linear, w.weight(), x, rows, 2),
                     run(ref::linear, w.weight(), x, rows, 1), tolerance, random.seed());
      }
}

TEST_P(LinearInt8, ErrorIsAtMostHalfAStepPerInput) {
  RandomValues random(11);
  for (const Shape& shape : kShapes) {
    const RandomWeight w(WeightFormat::int4_zeros, shape.n, shape.k, random, shape.group_size);
    const auto x = random.normal(2 * shape.k);
    const auto bound =
        weighted_bounds(w.weight(), x, 2, [](float largest) { return 0.501f * largest / 127; });
    expect_close(run(cpu::linear, w.weight(), x, 2, 2),
                 run(ref::linear, w.weight(), x, 2, 1, Activations::f32), bound, random.seed());
  }
}

TEST_P(LinearInt8, ARowsBitsDependNeitherOnOtherRowsNorOnThreads) {
  RandomValues random(5);
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "N " << shape.n << " K " << shape.k);
    constexpr int64_t kMany = 66;
    if (shape.n * shape.k > 400000 && shape.n > 2000) continue;
    const RandomWeight w(WeightFormat::int4_zeros, shape.n, shape.k, random, shape.group_size);
    const auto x = random.normal(kMany * shape.k);
    const auto all = run(cpu::linear, w.weight(), x, kMany, 1);
    EXPECT_EQ(all, run(cpu::linear, w.weight(), x, kMany, 3));
    int64_t row = 0;
    for (const int64_t rows : {1, 2, 3, 4, 5, 12}) {
      const std::vector<float> some(x.begin() + row * shape.k, x.begin() + (row + rows) * shape.k);
      const std::vector<float> expected(all.begin() + row * shape.n,
                                        all.begin() + (row + rows) * shape.n);
      for (const int threads : {1, 2, 3})
        EXPECT_EQ(run(cpu::linear, w.weight(), some, rows, threads), expected) << rows << " rows";
      row += rows;
    }
  }
}

TEST_P(LinearInt8, ExtremeInputsAndCodesDoNotOverflow) {
  RandomValues random(6);
  for (const uint32_t word : {0u, 0xFFFFFFFFu})
    for (const float sign : {1.0f, -1.0f}) {
      const int64_t n = 80, k = 256;
      const std::vector<uint32_t> words(static_cast<size_t>(n * k / 8), word),
          zeros(static_cast<size_t>(n / 8), 0x77777777u);
      const std::vector<uint16_t> scales(static_cast<size_t>(n), f32_to_f16(1.0f));
      const Weight weight = Int4Weight{.qweight = words.data(),
                                       .qzeros = zeros.data(),
                                       .scales = scales.data(),
                                       .n = n,
                                       .k = k,
                                       .group_size = k};
      const std::vector<float> x(static_cast<size_t>(8 * k), sign * 127);
      const float expected = (word == 0 ? -8.0f : 7.0f) * sign * 127 * static_cast<float>(k);
      for (const int64_t rows : {1, 4, 8})
        EXPECT_EQ(run(cpu::linear, weight, x, rows, 1),
                  std::vector<float>(static_cast<size_t>(rows * n), expected));
    }
}

TEST_P(LinearInt8, ZerosStayZeroAndOddWeightsAreTakenAsTheyAre) {
  RandomValues random(7);
  const RandomWeight w(WeightFormat::int4, 40, 96, random);
  const std::vector<float> nothing(96);
  EXPECT_EQ(run(cpu::linear, w.weight(), nothing, 1, 1), std::vector<float>(40));
  const auto x = random.normal(3 * 96);
  const auto equal = [&](WeightFormat format, Activations activations) {
    const RandomWeight other(format, 40, 96, random);
    return run(cpu::linear, other.weight(), x, 3, 2) ==
           run(cpu::linear, other.weight(), x, 3, 2, activations);
  };
  EXPECT_TRUE(equal(WeightFormat::int4_shuffled, Activations::f32));
  EXPECT_TRUE(equal(WeightFormat::f16, Activations::f32));
  EXPECT_TRUE(equal(WeightFormat::bf16, Activations::bf16));
}

INSTANTIATE_TEST_SUITE_P(, LinearInt8, testing::ValuesIn(simd_targets()),
                         [](const auto& test) { return test.param; });

TEST(SimdTarget, AnUnknownOneIsRefused) {
  const std::string before = simd_target();
  EXPECT_ANY_THROW(force_simd_target("ABACUS"));
  force_simd_target("");
  EXPECT_EQ(simd_target(), before);
  EXPECT_EQ(simd_targets().front(), before);
}

}  // namespace
}  // namespace qround::ops
