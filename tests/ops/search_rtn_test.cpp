#include "ops/search_rtn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/half.h"
#include "ops/full_range_int4.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {
namespace {

struct Searched {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
  RtnSums sums;

  float value(size_t index, int64_t group) const {
    return f16_to_f32(scales[index / static_cast<size_t>(group)]) *
           static_cast<float>(codes[index] + kLowestCode);
  }
};

Searched search(const OpTable& table, const DenseWeight& weight, SearchRtnRows rows) {
  Searched result{
      std::vector<uint8_t>(static_cast<size_t>((rows.end - rows.begin) * weight.k)), {}, {}};
  result.scales.resize(result.codes.size() / static_cast<size_t>(rows.group_size));
  const OnBackend on(table);
  const auto* stored = static_cast<const uint16_t*>(weight.data);
  const auto weights = on.copy_of(std::vector(stored, stored + weight.n * weight.k));
  const auto importance =
      rows.importance == nullptr
          ? Buffer<float>()
          : on.copy_of(std::vector(rows.importance, rows.importance + weight.k));
  auto codes = on.copy_of(result.codes);
  auto scales = on.copy_of(result.scales);
  rows.codes = codes.data();
  rows.scales = scales.data();
  rows.importance = importance.data();
  result.sums = table.search_rtn({weight.dtype, weights.data(), weight.n, weight.k}, rows);
  result.codes = codes.to_vector();
  result.scales = scales.to_vector();
  return result;
}

class SearchRtn : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SearchRtn);

// A map whose weights and importances are uneven.
struct Subject {
  int64_t n, k;
  std::vector<uint16_t> weights;  // BF16
  std::vector<float> importance;

  Subject(int64_t rows, int64_t width, uint32_t seed) : n(rows), k(width) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n * k; ++i)
      weights.push_back(f32_to_bf16(0.02f * normal(random) * (i % 41 == 0 ? 6 : 1)));
    for (int64_t i = 0; i < k; ++i) importance.push_back(std::exp(2 * normal(random)));
    for (size_t i = 0; i < 64; ++i) weights[i] = 0;
    for (size_t i = 64; i < 128; ++i) weights[i] = f32_to_bf16(3e-6f);
  }
  DenseWeight weight() const { return {DType::bf16, weights.data(), n, k}; }
  // sum of d (w - w')^2 of one row
  double error(const Searched& searched, int64_t row, int64_t group) const {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      const auto index = static_cast<size_t>(row * k + j);
      const double e = double{bf16_to_f32(weights[index])} - double{searched.value(index, group)};
      sum += double{importance[static_cast<size_t>(j)]} * e * e;
    }
    return sum;
  }
};

TEST_P(SearchRtn, EveryVersionChoosesTheSameScalesAndCodes) {
  for (const int64_t group : {32, 64, 128}) {
    const Subject subject(7, 384, static_cast<uint32_t>(group));
    for (const ScaleGrid grid : {ScaleGrid::bf16, ScaleGrid::autoround}) {
      for (const float* importance :
           {subject.importance.data(), static_cast<const float*>(nullptr)}) {
        const SearchRtnRows rows{
            .begin = 1, .end = 6, .group_size = group, .grid = grid, .importance = importance};
        const Searched a = search(ref_table(), subject.weight(), rows);
        const Searched b = search(table(), subject.weight(), rows);
        EXPECT_EQ(a.scales, b.scales) << "group " << group;
        EXPECT_EQ(a.codes, b.codes) << "group " << group;
        EXPECT_NEAR(a.sums.errors_squared, b.sums.errors_squared, 1e-9);
      }
    }
  }
}

TEST_P(SearchRtn, ErrsLessThanPlainRoundingInEveryRow) {
  const Subject subject(16, 256, 3);
  SearchRtnRows rows{.begin = 0, .end = 16, .importance = subject.importance.data()};
  const Searched searched = search(table(), subject.weight(), rows);
  Searched plain = searched;
  cpu::quantize_rtn(subject.weight(), {0, 16, 128, plain.codes.data(), plain.scales.data()});
  for (int64_t row = 1; row < 16; ++row)
    EXPECT_LT(subject.error(searched, row, 128), 0.98 * subject.error(plain, row, 128)) << row;
}

TEST_P(SearchRtn, ScalesAreExactInBf16AndUsable) {
  Subject subject(4, 128, 5);
  for (size_t i = 0; i < 128; ++i) subject.weights[128 + i] = f32_to_bf16(500'000.0f);
  const Searched searched =
      search(table(), subject.weight(),
             {.begin = 0, .end = 4, .group_size = 64, .importance = subject.importance.data()});
  for (const uint16_t bits : searched.scales) {
    const float scale = f16_to_f32(bits);
    EXPECT_EQ(scale, bf16_to_f32(f32_to_bf16(scale)));
    EXPECT_TRUE(std::isfinite(scale));
    EXPECT_GE(std::fabs(scale), f16_to_f32(kSmallestScale));
  }
  EXPECT_TRUE(searched.sums.representable);
}

TEST_P(SearchRtn, TellsOfWeightsThatNoScaleReaches) {
  Subject subject(2, 128, 5);
  subject.weights[130] = f32_to_bf16(INFINITY);
  for (const OpTable* each : {&ref_table(), &table()})
    EXPECT_FALSE(search(*each, subject.weight(), {.begin = 0, .end = 2}).sums.representable);
}

}  // namespace
}  // namespace qround::ops
