#include "ops/error_feedback.h"

#include <gtest/gtest.h>

#include <random>

#include "base/half.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {
namespace {

constexpr float kUnit = 1.0f / 4096;

// A map and a factor without structure.
struct Subject {
  int64_t n, k, group;
  std::vector<uint16_t> weights;  // BF16
  std::vector<float> factor, scales;
  std::vector<int32_t> order;

  Subject(int64_t rows, int64_t width, int64_t group_size, uint32_t seed)
      : n(rows), k(width), group(group_size) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n * k; ++i) weights.push_back(f32_to_bf16(normal(random)));
    for (int64_t i = 0; i < n * k / group; ++i)
      scales.push_back((i % 2 == 0 ? 0.4f : -0.4f) + 0.01f * normal(random));
    for (int64_t i = 0; i < k * k; ++i) factor.push_back(0.1f * normal(random));
    for (int32_t i = 0; i < k; ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), random);
  }

  std::vector<int16_t> round(const OpTable& table, int threads, int16_t most_units) const {
    OnBackend on(table, threads);
    const auto w = on.copy_of(weights);
    const auto u = on.copy_of(factor), s = on.copy_of(scales);
    const auto places = on.copy_of(order);
    auto v = on.copy_of(std::vector<int16_t>(weights.size(), -1));
    table.round_with_feedback({.weight = {DType::bf16, w.data(), n, k},
                               .factor = u.data(),
                               .order = places.data(),
                               .scales = s.data(),
                               .group_size = group,
                               .v_unit = kUnit,
                               .most_units = most_units,
                               .v = v.data()},
                              on.context);
    return v.to_vector();
  }
};

class ErrorFeedback : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(ErrorFeedback);

TEST_P(ErrorFeedback, EveryVersionGivesTheSameOffsets) {
  // One row, whole and broken blocks of rows, panels of inputs with a rest.
  const Subject subjects[] = {{1, 32, 32, 1}, {70, 96, 32, 2}, {64, 128, 128, 3}, {33, 144, 16, 4}};
  for (const Subject& subject : subjects)
    EXPECT_EQ(subject.round(table(), 3, 4096), subject.round(ref_table(), 1, 4096))
        << subject.n << " x " << subject.k;
}

TEST_P(ErrorFeedback, OffsetsStayWithinTheirLimit) {
  const std::vector<int16_t> v = Subject(20, 64, 32, 5).round(table(), 2, 300);
  const auto [low, high] = std::minmax_element(v.begin(), v.end());
  EXPECT_EQ(*low, -300);
  EXPECT_EQ(*high, 300);
}

// Three inputs in the order 2, 0, 1 and one row, by hand.
TEST_P(ErrorFeedback, EachInputTakesUpTheErrorsBeforeIt) {
  Subject subject(1, 3, 3, 6);
  subject.weights.assign(3, f32_to_bf16(0.40625f));
  subject.scales = {1};
  subject.order = {2, 0, 1};
  subject.factor = {9, 9,     9,      0.5f, 9,
                    9, 0.25f, 0.125f, 9};  // what is not below the diagonal is not read
  const std::vector<int16_t> v = subject.round(table(), 1, 4096);
  EXPECT_EQ(v[2], 0);    // code 0, error 0.40625
  EXPECT_EQ(v[0], 832);  // 0.203125: code 1, error -0.59375
  EXPECT_EQ(v[1], 112);  // 0.1015625 - 0.07421875 = 0.02734375
}

}  // namespace
}  // namespace qround::ops
