// The rounding rule against auto-round's own results (tests/data/quant/README.md), bit for bit.
#include "ops/full_range_int4.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "ops/quantize_rtn.h"
#include "tests/golden/safetensors_golden.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {
namespace {

constexpr int64_t kGroup = 128;

class FullRangeInt4 : public testing::TestWithParam<std::string> {
 protected:
  TensorView golden(const std::string& name) const {
    return goldens_.view(GetParam() + "." + name);
  }

 private:
  SafetensorsFile goldens_{source_path("tests/data/quant/qdq.safetensors")};
};

TEST_P(FullRangeInt4, GivesTheScalesAndWeightsOfAutoRound) {
  const std::vector<float> weight = to_f32(golden("weight"));
  const auto* v = golden("v").as<float>();
  const auto* scales = golden("scale").as<uint16_t>();
  const auto* values = golden("qdq").as<uint16_t>();
  for (int64_t group = 0; group < golden("scale").count(); ++group) {
    GroupRange range;
    for (int64_t j = group * kGroup; j < (group + 1) * kGroup; ++j) {
      range.low = std::min(range.low, weight[static_cast<size_t>(j)]);
      range.high = std::max(range.high, weight[static_cast<size_t>(j)]);
    }
    const uint16_t scale_bits = full_range_scale(range, golden("alpha").as<float>()[group],
                                                 golden("beta").as<float>()[group]);
    ASSERT_EQ(scale_bits, scales[group]) << "group " << group;
    const float scale = f16_to_f32(scale_bits);
    for (int64_t j = group * kGroup; j < (group + 1) * kGroup; ++j) {
      const int code = full_range_code(weight[static_cast<size_t>(j)], scale, v[j]);
      ASSERT_EQ(f32_to_bf16(scale * static_cast<float>(code)), values[j]) << "element " << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, FullRangeInt4, testing::Values("plain", "tuned", "edges"));

TEST(FullRangeScale, MapsTheLargerExtremeToTheLowestCode) {
  const float positive = f16_to_f32(full_range_scale({.low = -0.5f, .high = 1.0f}));
  EXPECT_LT(positive, 0);
  EXPECT_EQ(full_range_code(1.0f, positive), kLowestCode);
  EXPECT_EQ(full_range_code(-0.5f, positive), 4);
  const float negative = f16_to_f32(full_range_scale({.low = -1.0f, .high = 0.5f}));
  EXPECT_GT(negative, 0);
  EXPECT_EQ(full_range_code(-1.0f, negative), kLowestCode);
}

TEST(FullRangeScale, SaturatesTheOtherSideOfEqualExtremes) {
  const float scale = f16_to_f32(full_range_scale({.low = -1.0f, .high = 1.0f}));
  EXPECT_EQ(full_range_code(1.0f, scale), kLowestCode);
  EXPECT_EQ(full_range_code(-1.0f, scale), kHighestCode);
}

TEST(FullRangeScale, NeverIsSmallerThanTheSmallest) {
  EXPECT_EQ(full_range_scale({.low = 0, .high = 0}), kSmallestScale);
  EXPECT_EQ(full_range_scale({.low = -1e-9f, .high = 0}), kSmallestScale);
  EXPECT_EQ(full_range_scale({.low = 0, .high = 1e-9f}), kSmallestScale) << "-0 counts as +0";
  EXPECT_EQ(full_range_scale({.low = 0, .high = 1e-6f}), 0x8000u | kSmallestScale);
}

// Round-to-nearest of whole matrices: the fast version against the definition.

struct Rounded {
  explicit Rounded(int64_t n, int64_t k, int64_t group)
      : codes(static_cast<size_t>(n * k)), scales(static_cast<size_t>(n * k / group)) {}
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
  RtnSums sums;
};

Rounded round(const OpTable& table, DenseWeight weight, int64_t group) {
  Rounded rounded(weight.n, weight.k, group);
  const OnBackend on(table);
  const auto* bytes = static_cast<const std::byte*>(weight.data);
  const auto weights = on.copy_of(std::vector(
      bytes, bytes + static_cast<size_t>(weight.n * weight.k) * dtype_bytes(weight.dtype)));
  auto codes = on.copy_of(rounded.codes);
  auto scales = on.copy_of(rounded.scales);
  weight.data = weights.data();
  rounded.sums = table.quantize_rtn(weight, {.begin = 0,
                                             .end = weight.n,
                                             .group_size = group,
                                             .codes = codes.data(),
                                             .scales = scales.data()});
  rounded.codes = codes.to_vector();
  rounded.scales = scales.to_vector();
  return rounded;
}

class QuantizeRtn : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(QuantizeRtn);

// Weights over many magnitudes, with ties (multiples of a scale's half) among them.
std::vector<float> test_weights(int64_t count, uint32_t seed) {
  std::vector<float> values;
  uint32_t state = seed;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    const float unit = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
    const int magnitude = static_cast<int>(i / 512 % 13) - 8;
    const float tie = std::round(unit * 16) / 16;
    values.push_back(std::ldexp(i % 3 == 0 ? tie : unit, magnitude));
  }
  return values;
}

void expect_same(const OpTable& table, const DenseWeight& weight, int64_t group) {
  const Rounded expected = round(ref_table(), weight, group);
  const Rounded actual = round(table, weight, group);
  EXPECT_EQ(expected.codes, actual.codes) << "K " << weight.k << " group " << group;
  EXPECT_EQ(expected.scales, actual.scales) << "K " << weight.k << " group " << group;
  EXPECT_TRUE(actual.sums.representable);
  EXPECT_NEAR(expected.sums.weights_squared, actual.sums.weights_squared,
              1e-5 * expected.sums.weights_squared);
  EXPECT_NEAR(expected.sums.errors_squared, actual.sums.errors_squared,
              1e-4 * expected.sums.errors_squared);
}

TEST_P(QuantizeRtn, EqualsItsDefinitionForEveryTypeAndGroupSize) {
  for (const int64_t group : {32, 64, 128}) {
    for (const int64_t k : {group, 3 * group, 8 * group}) {
      const int64_t n = 37;
      const std::vector<float> f32 = test_weights(n * k, static_cast<uint32_t>(group + k));
      std::vector<uint16_t> bf16, f16;
      for (const float value : f32) {
        bf16.push_back(f32_to_bf16(value));
        f16.push_back(f32_to_f16(value));
      }
      expect_same(table(), {DType::f32, f32.data(), n, k}, group);
      expect_same(table(), {DType::bf16, bf16.data(), n, k}, group);
      expect_same(table(), {DType::f16, f16.data(), n, k}, group);
    }
  }
}

TEST_P(QuantizeRtn, EqualsAutoRoundOnGoldenWeights) {
  const SafetensorsFile goldens(source_path("tests/data/quant/qdq.safetensors"));
  const TensorView weight = goldens.view("plain.weight");
  const Rounded rounded =
      round(table(), {weight.dtype, weight.data, weight.shape[0], weight.shape[1]}, 128);
  const auto* scales = goldens.view("plain.scale").as<uint16_t>();
  const auto* values = goldens.view("plain.qdq").as<uint16_t>();
  for (size_t i = 0; i < rounded.codes.size(); ++i) {
    ASSERT_EQ(rounded.scales[i / 128], scales[i / 128]);
    const float scale = f16_to_f32(rounded.scales[i / 128]);
    ASSERT_EQ(f32_to_bf16(scale * static_cast<float>(rounded.codes[i] - 8)), values[i]);
  }
}

TEST_P(QuantizeRtn, ReportsWeightsThatCannotBeRepresented) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(), 524160.0f, 1e30f};
  for (const float value : bad) {
    for (const size_t place : {size_t{0}, size_t{77}, size_t{4 * 128 - 1}}) {
      std::vector<float> weights = test_weights(4 * 128, 1);
      weights[place] = value;
      const DenseWeight weight{DType::f32, weights.data(), 4, 128};
      EXPECT_FALSE(round(ref_table(), weight, 128).sums.representable) << value;
      EXPECT_FALSE(round(table(), weight, 128).sums.representable) << value;
    }
  }
  std::vector<float> weights(128, 524000.0f);
  EXPECT_TRUE(round(table(), {DType::f32, weights.data(), 1, 128}, 128).sums.representable);
}

}  // namespace
}  // namespace qround::ops
