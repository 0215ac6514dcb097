#include "ops/kept_rounding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

class KeptRounding : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(KeptRounding);

BestLoss noted(const OpTable& table, const std::vector<double>& losses, const BestLoss& before) {
  OnBackend on(table);
  const auto of_losses = on.copy_of(losses);
  const auto best = on.copy_of(std::vector<BestLoss>{before});
  auto after = on.copy_of(std::vector<BestLoss>{before});
  table.note_loss({.losses = of_losses.data(),
                   .count = static_cast<int64_t>(losses.size()),
                   .iteration = 7,
                   .best = after.data()},
                  on.context);
  return after.to_vector()[0];
}

TEST_P(KeptRounding, OnlyASmallerMeanBecomesTheBest) {
  const BestLoss before{.loss = 2, .iteration = 3, .is_new = 1};
  const BestLoss smaller = noted(table(), {1, 2.5, 2}, before);
  EXPECT_EQ(smaller.loss, 5.5 / 3);
  EXPECT_EQ(smaller.iteration, 7);
  EXPECT_EQ(smaller.is_new, 1);
  for (const double loss : {2.0, 3.0, double{NAN}, double{INFINITY}}) {
    const BestLoss same = noted(table(), {loss}, before);
    EXPECT_EQ(same.loss, 2) << loss;
    EXPECT_EQ(same.iteration, 3) << loss;
    EXPECT_EQ(same.is_new, 0) << loss;
  }
  EXPECT_EQ(noted(table(), {NAN}, {}).is_new, 0);
  EXPECT_EQ(noted(table(), {1e300}, {}).is_new, 1);
}

// Maps of different shapes and formats in the middle of a run.
struct Subject {
  struct Map {
    int64_t n, k;
    DType dtype;
    std::vector<float> values;
    std::vector<uint16_t> halves;
  };
  std::vector<Map> maps;
  std::vector<int16_t> v;
  std::vector<float> alpha, beta;
  int64_t group;

  explicit Subject(int64_t group_size) : group(group_size) {
    RandomValues random(5);
    for (const auto& [n, k, dtype] : {Shape{5, 3, DType::bf16}, Shape{1, 1, DType::f32},
                                      Shape{40, 2, DType::f16}, Shape{7, 5, DType::bf16}}) {
      Map map{n, k * group, dtype, random.normal(static_cast<size_t>(n * k * group)), {}};
      for (const float value : map.values)
        map.halves.push_back(dtype == DType::bf16 ? f32_to_bf16(value) : f32_to_f16(value));
      for (int64_t i = 0; i < n * k * group; ++i)
        v.push_back(static_cast<int16_t>(random.bits() % 10001) - 5000);
      maps.push_back(std::move(map));
    }
    for (size_t i = 0; i < v.size() / static_cast<size_t>(group); ++i) {
      alpha.push_back(0.6f + 0.4f * static_cast<float>(random.bits() % 1000) / 1000);
      beta.push_back(0.6f + 0.4f * static_cast<float>(random.bits() % 1000) / 1000);
    }
  }

 private:
  struct Shape {
    int64_t n, k;
    DType dtype;
  };
};

struct Kept {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
  bool operator==(const Kept&) const = default;
};

Kept kept(const OpTable& table, const Subject& s, const BestLoss* only_if_new) {
  OnBackend on(table, 3);
  const auto v = on.copy_of(s.v);
  const auto alpha = on.copy_of(s.alpha), beta = on.copy_of(s.beta);
  std::vector<Buffer<float>> values;
  std::vector<Buffer<uint16_t>> halves;
  std::vector<DenseWeight> weights;
  for (const Subject::Map& map : s.maps) {
    values.push_back(on.copy_of(map.values));
    halves.push_back(on.copy_of(map.halves));
    const void* data = map.dtype == DType::f32 ? static_cast<const void*>(values.back().data())
                                               : halves.back().data();
    weights.push_back({map.dtype, data, map.n, map.k});
  }
  auto codes = on.copy_of(std::vector<uint8_t>(s.v.size() / 2, 0xAB));
  auto scales = on.copy_of(std::vector<uint16_t>(s.alpha.size(), 0xABCD));
  const auto best =
      on.copy_of(std::vector<BestLoss>{only_if_new != nullptr ? *only_if_new : BestLoss{}});
  table.keep_rounding({.weights = weights,
                       .rule = {.v_unit = 1e-4f},
                       .rows = {.group_size = s.group,
                                .v = const_cast<int16_t*>(v.data()),
                                .alpha = const_cast<float*>(alpha.data()),
                                .beta = const_cast<float*>(beta.data())},
                       .packed_codes = codes.data(),
                       .scales = scales.data(),
                       .only_if_new = only_if_new == nullptr ? nullptr : best.data()},
                      on.context);
  return {codes.to_vector(), scales.to_vector()};
}

TEST_P(KeptRounding, HasTheDefinitionsBytesForMapsOfAllShapes) {
  for (const int64_t group : {32, 64, 128}) {
    const Subject subject(group);
    const Kept expected = kept(ref_table(), subject, nullptr);
    const Kept actual = kept(table(), subject, nullptr);
    EXPECT_EQ(actual.codes, expected.codes) << group;
    EXPECT_EQ(actual.scales, expected.scales) << group;
  }
}

TEST_P(KeptRounding, StaysAsItWasUnlessTheLossIsNew) {
  const Subject subject(32);
  const BestLoss is_new{.loss = 1, .is_new = 1}, is_old{.loss = 1, .is_new = 0};
  EXPECT_EQ(kept(table(), subject, &is_new), kept(ref_table(), subject, nullptr));
  const Kept untouched = kept(table(), subject, &is_old);
  EXPECT_EQ(untouched.codes, std::vector<uint8_t>(subject.v.size() / 2, 0xAB));
  EXPECT_EQ(untouched.scales, std::vector<uint16_t>(subject.alpha.size(), 0xABCD));
}

// More maps than a launch takes, as a block of 256 experts has.
TEST_P(KeptRounding, TakesAnyNumberOfMaps) {
  Subject subject(32);
  const Subject::Map map = subject.maps[1];
  subject.maps.assign(1100, map);
  subject.v.assign(1100 * 32, 0);
  for (size_t i = 0; i < subject.v.size(); ++i) subject.v[i] = static_cast<int16_t>(i * 37 % 9000);
  subject.alpha.assign(1100, 0.75f);
  subject.beta.assign(1100, 1.0f);
  EXPECT_EQ(kept(table(), subject, nullptr), kept(ref_table(), subject, nullptr));
}

}  // namespace
}  // namespace qround::ops
