#include "ops/sign_round.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"
#include "ops/ref/sign_round_element.h"
#include "ops/sign_round_scale.h"
#include "ops/weight_gradient.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {
namespace {

constexpr uint32_t kSeed = 11;

// A linear map with tuned parameters in the middle of a run.
struct Subject {
  int64_t n, k, group;
  std::vector<uint16_t> weights;  // BF16
  std::vector<int16_t> v;
  std::vector<float> alpha, beta, gradient;

  Subject(int64_t rows, int64_t width, int64_t group_size) : n(rows), k(width), group(group_size) {
    std::mt19937 random(kSeed);
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> offset(-5000, 5000);
    std::uniform_real_distribution<float> factor(0.6f, 1.0f);
    for (int64_t i = 0; i < n * k; ++i) {
      weights.push_back(f32_to_bf16(0.02f * normal(random)));
      v.push_back(static_cast<int16_t>(offset(random)));
      gradient.push_back(normal(random));
    }
    for (int64_t i = 0; i < n * k / group; ++i) {
      alpha.push_back(factor(random));
      beta.push_back(factor(random));
    }
    for (int64_t i = 0; i < group; ++i) weights[static_cast<size_t>(i)] = 0;  // an all-zero group
    for (int64_t i = 0; i < group; ++i)
      weights[static_cast<size_t>(group + i)] = f32_to_bf16(1e-7f);
    gradient[static_cast<size_t>(3 * group)] = 0;
  }

  DenseWeight weight() const { return {DType::bf16, weights.data(), n, k}; }
  SignRoundRows rows(int64_t begin, int64_t end) {
    return {begin, end, group, v.data(), alpha.data(), beta.data()};
  }
};

struct Rounded {
  std::vector<float> f32;
  std::vector<uint16_t> bf16, scales;
  std::vector<uint8_t> codes;

  explicit Rounded(const Subject& s)
      : f32(s.weights.size()),
        bf16(s.weights.size()),
        scales(s.alpha.size()),
        codes(s.weights.size()) {}
};

// A subject in a backend's memory.
struct SubjectOn {
  Buffer<uint16_t> weights;
  Buffer<int16_t> v;
  Buffer<float> alpha, beta, gradient;
  int64_t n, k, group;

  SubjectOn(const OnBackend& on, const Subject& s)
      : weights(on.copy_of(s.weights)),
        v(on.copy_of(s.v)),
        alpha(on.copy_of(s.alpha)),
        beta(on.copy_of(s.beta)),
        gradient(on.copy_of(s.gradient)),
        n(s.n),
        k(s.k),
        group(s.group) {}

  DenseWeight weight() const { return {DType::bf16, weights.data(), n, k}; }
  SignRoundRows rows(int64_t begin, int64_t end) {
    return {begin, end, group, v.data(), alpha.data(), beta.data()};
  }
  void give(Subject& s) const {
    s.v = v.to_vector();
    s.alpha = alpha.to_vector();
    s.beta = beta.to_vector();
  }
};

Rounded round_with(const OpTable& table, const Subject& subject, const SignRoundRule& rule,
                   int64_t begin, int64_t end) {
  const OnBackend on(table, 1);
  Rounded out(subject);
  SubjectOn there(on, subject);
  auto f32 = on.copy_of(out.f32);
  auto bf16 = on.copy_of(out.bf16), scales = on.copy_of(out.scales);
  auto codes = on.copy_of(out.codes);
  table.sign_round(there.weight(), rule, there.rows(begin, end),
                   {DType::f32, f32.data(), codes.data(), scales.data()}, on.context);
  table.sign_round(there.weight(), rule, there.rows(begin, end),
                   {DType::bf16, bf16.data(), nullptr, nullptr}, on.context);
  out.f32 = f32.to_vector();
  out.bf16 = bf16.to_vector();
  out.scales = scales.to_vector();
  out.codes = codes.to_vector();
  return out;
}

// Two steps, rows [0, 3) and [3, n) by themselves.
void step_with(const OpTable& table, Subject& subject, const SignRoundRule& rule) {
  const OnBackend on(table, 1);
  SubjectOn there(on, subject);
  for (const int16_t units : {int16_t{50}, int16_t{49}})
    for (const int64_t begin : {int64_t{0}, int64_t{3}})
      table.sign_round_step(there.weight(), rule, there.rows(begin, begin == 0 ? 3 : subject.n),
                            {there.gradient.data() + begin * subject.k, {units, 0.005f}},
                            on.context);
  there.give(subject);
}

class SignRound : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SignRound);

TEST_P(SignRound, FastVersionGivesTheCodesScalesAndValuesOfTheDefinition) {
  for (const int64_t group : {32, 64, 128}) {
    for (const bool bf16_scales : {false, true}) {
      Subject subject(7, 3 * group, group);
      const SignRoundRule rule{.v_unit = 1e-4f, .bf16_scales = bf16_scales};
      const Rounded expected = round_with(ref_table(), subject, rule, 0, 7);
      const Rounded actual = round_with(table(), subject, rule, 0, 7);
      EXPECT_EQ(expected.scales, actual.scales);
      EXPECT_EQ(expected.codes, actual.codes);
      EXPECT_EQ(expected.f32, actual.f32);
      EXPECT_EQ(expected.bf16, actual.bf16);
    }
  }
}

TEST_P(SignRound, TouchesOnlyTheRowsItWasGiven) {
  for (const OpTable* backend : {&ref_table(), &table()}) {
    const Subject subject(5, 128, 64);
    const Rounded whole = round_with(*backend, subject, {.v_unit = 1e-4f}, 0, 5);
    const Rounded part = round_with(*backend, subject, {.v_unit = 1e-4f}, 2, 4);
    for (size_t i = 0; i < whole.codes.size(); ++i) {
      const size_t row = i / 128;
      EXPECT_EQ(part.codes[i], row == 2 || row == 3 ? whole.codes[i] : 0) << i;
    }
  }
}

TEST_P(SignRound, Bf16ScalesAreExactInBothFormats) {
  Subject subject(16, 512, 32);
  const Rounded rounded =
      round_with(table(), subject, {.v_unit = 1e-4f, .bf16_scales = true}, 0, 16);
  for (const uint16_t scale : rounded.scales) {
    const float value = f16_to_f32(scale);
    EXPECT_EQ(bf16_to_f32(f32_to_bf16(value)), value);
    EXPECT_GE(std::abs(value), f16_to_f32(kSmallestScale));
  }
}

TEST_P(SignRound, StepsMoveTheParametersOfTheDefinition) {
  for (const ClampRule clamp : {ClampRule::closed, ClampRule::open, ClampRule::inward}) {
    for (const bool f16_gradient : {false, true}) {
      Subject expected(7, 384, 128), actual(7, 384, 128);
      const SignRoundRule rule{.v_unit = 1e-4f, .clamp = clamp, .f16_scale_gradient = f16_gradient};
      step_with(ref_table(), expected, rule);
      step_with(table(), actual, rule);
      EXPECT_EQ(expected.v, actual.v);
      EXPECT_EQ(expected.alpha, actual.alpha);
      EXPECT_EQ(expected.beta, actual.beta);
      EXPECT_NE(expected.v, Subject(7, 384, 128).v);
    }
  }
}

TEST_P(SignRound, StepsEqualTheDefinitionForEveryGroupSize) {
  for (const int64_t group : {32, 64, 128}) {
    Subject expected(5, 3 * group, group), actual(5, 3 * group, group);
    step_with(ref_table(), expected, {.v_unit = 1e-4f});
    step_with(table(), actual, {.v_unit = 1e-4f});
    EXPECT_EQ(expected.v, actual.v);
    EXPECT_EQ(expected.alpha, actual.alpha);
    EXPECT_EQ(expected.beta, actual.beta);
  }
}

TEST(SignRoundStep, InwardRuleNeverMovesACodeFurtherOut) {
  // w / s = -8 exactly: the extreme of its group.
  ref::ScaleGradient sums;
  const ref::RoundedElement extreme{0.8f, 0, -0.1f};
  for (const float gradient : {-1.0f, 1.0f}) {
    const int inward = ref::element_step(ClampRule::inward, extreme, gradient, sums);
    const int closed = ref::element_step(ClampRule::closed, extreme, gradient, sums);
    EXPECT_EQ(ref::element_step(ClampRule::open, extreme, gradient, sums), 0);
    EXPECT_NE(closed, 0);
    EXPECT_EQ(inward, closed > 0 ? closed : 0) << "code -8 may only rise";
  }
}

TEST(SignRoundStep, FactorsStayWithinTheirBounds) {
  Subject subject(4, 256, 64);
  Workspace workspace;
  const OpContext context{{1}, workspace};
  for (int i = 0; i < 400; ++i) {
    cpu::sign_round_step(subject.weight(), {.v_unit = 1e-4f}, subject.rows(0, 4),
                         {subject.gradient.data(), {1, 0.01f}}, context);
  }
  for (const std::vector<float>* factors : {&subject.alpha, &subject.beta}) {
    for (const float factor : *factors) {
      EXPECT_GE(factor, 0);
      EXPECT_LE(factor, 1);
    }
  }
}

// Sign steps said as data are those of a function that takes the tiles.
TEST_P(SignRound, UpdateDoesWhatAStepAndARoundingOfEachTileDo) {
  const SignRoundRule rule{.v_unit = 1e-4f};
  const SignRoundStepSizes sizes{37, 0.004f};
  const int64_t n = 140, tokens = 30;
  for (const int64_t group : {32, 128}) {
    const int64_t k = 2 * group + (group == 32 ? 32 : 0);
    Subject expected(n, k, group), actual(n, k, group);
    const Subject before(n, k, group);
    std::mt19937 random(kSeed);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(tokens * k)), dy(static_cast<size_t>(tokens * n));
    for (float& value : x) value = normal(random);
    for (float& value : dy) value = normal(random);
    const OnBackend on(table());
    const auto x_there = on.copy_of(x), dy_there = on.copy_of(dy);
    WeightGradientJob job{.matrix = 1,
                          .x = x_there.data(),
                          .dy = dy_there.data(),
                          .rows = tokens,
                          .n = n,
                          .k = k,
                          .x_stride = k,
                          .dy_stride = n};

    // The same gradient, taken by a function, through the definition.
    Workspace workspace;
    const OpContext on_host{{1}, workspace};
    std::vector<uint16_t> expected_values(static_cast<size_t>(n * k));
    const WeightGradientConsumer consume = [&](const WeightGradientTile& tile) {
      const SignRoundRows rows = expected.rows(tile.row_begin, tile.row_end);
      ref::sign_round_step(expected.weight(), rule, rows, {tile.values, sizes}, on_host);
      ref::sign_round(expected.weight(), rule, rows, {DType::bf16, expected_values.data()},
                      on_host);
    };
    table().weight_gradient_tiles({&job, 1}, {.consume = &consume}, on.context);

    SubjectOn there(on, actual);
    auto values = on.copy_of(std::vector<uint16_t>(static_cast<size_t>(n * k)));
    const auto sizes_there = on.copy_of(std::vector<SignRoundStepSizes>{sizes});
    const SignRoundTarget targets[] = {
        {}, {there.weight(), there.rows(0, 0), {DType::bf16, values.data()}}};
    const SignRoundUpdate update{rule, sizes_there.data(), targets};
    table().weight_gradient_tiles({&job, 1}, {.update = &update}, on.context);
    there.give(actual);
    EXPECT_EQ(actual.v, expected.v);
    EXPECT_EQ(actual.alpha, expected.alpha);
    EXPECT_EQ(actual.beta, expected.beta);
    EXPECT_EQ(values.to_vector(), expected_values);
    EXPECT_NE(actual.v, before.v);

    job.matrix = 0;  // not wanted
    table().weight_gradient_tiles({&job, 1}, {.update = &update}, on.context);
    there.give(actual);
    EXPECT_EQ(actual.v, expected.v);
  }
}

}  // namespace
}  // namespace qround::ops
