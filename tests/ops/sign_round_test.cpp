#include "ops/sign_round.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "base/half.h"
#include "ops/ref/sign_round_element.h"
#include "ops/sign_round_scale.h"
#include "ops/weight_gradient.h"

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

Rounded round_with(SignRoundFunction* function, Subject& subject, const SignRoundRule& rule,
                   int64_t begin, int64_t end) {
  Rounded out(subject);
  Workspace workspace;
  const OpContext context{{1}, workspace};
  function(subject.weight(), rule, subject.rows(begin, end),
           {DType::f32, out.f32.data(), out.codes.data(), out.scales.data()}, context);
  function(subject.weight(), rule, subject.rows(begin, end),
           {DType::bf16, out.bf16.data(), nullptr, nullptr}, context);
  return out;
}

TEST(SignRound, FastVersionGivesTheCodesScalesAndValuesOfTheDefinition) {
  for (const int64_t group : {32, 64, 128}) {
    for (const bool bf16_scales : {false, true}) {
      Subject subject(7, 3 * group, group);
      const SignRoundRule rule{.v_unit = 1e-4f, .bf16_scales = bf16_scales};
      const Rounded expected = round_with(ref::sign_round, subject, rule, 0, 7);
      const Rounded actual = round_with(cpu::sign_round, subject, rule, 0, 7);
      EXPECT_EQ(expected.scales, actual.scales);
      EXPECT_EQ(expected.codes, actual.codes);
      EXPECT_EQ(expected.f32, actual.f32);
      EXPECT_EQ(expected.bf16, actual.bf16);
    }
  }
}

TEST(SignRound, TouchesOnlyTheRowsItWasGiven) {
  for (SignRoundFunction* function : {&ref::sign_round, &cpu::sign_round}) {
    Subject subject(5, 128, 64);
    const Rounded whole = round_with(function, subject, {.v_unit = 1e-4f}, 0, 5);
    const Rounded part = round_with(function, subject, {.v_unit = 1e-4f}, 2, 4);
    for (size_t i = 0; i < whole.codes.size(); ++i) {
      const size_t row = i / 128;
      EXPECT_EQ(part.codes[i], row == 2 || row == 3 ? whole.codes[i] : 0) << i;
    }
  }
}

TEST(SignRound, Bf16ScalesAreExactInBothFormats) {
  Subject subject(16, 512, 32);
  const Rounded rounded =
      round_with(cpu::sign_round, subject, {.v_unit = 1e-4f, .bf16_scales = true}, 0, 16);
  for (const uint16_t scale : rounded.scales) {
    const float value = f16_to_f32(scale);
    EXPECT_EQ(bf16_to_f32(f32_to_bf16(value)), value);
    EXPECT_GE(std::abs(value), f16_to_f32(kSmallestScale));
  }
}

TEST(SignRoundStep, FastVersionMovesTheParametersOfTheDefinition) {
  Workspace workspace;
  const OpContext context{{1}, workspace};
  for (const ClampRule clamp : {ClampRule::closed, ClampRule::open, ClampRule::inward}) {
    for (const bool f16_gradient : {false, true}) {
      Subject expected(7, 384, 128), actual(7, 384, 128);
      const SignRoundRule rule{.v_unit = 1e-4f, .clamp = clamp, .f16_scale_gradient = f16_gradient};
      for (const int16_t units : {int16_t{50}, int16_t{49}}) {
        const auto step = [&](Subject& s, SignRoundStepFunction* function) {
          function(s.weight(), rule, s.rows(0, 3), {s.gradient.data(), {units, 0.005f}}, context);
          function(s.weight(), rule, s.rows(3, 7), {s.gradient.data() + 3 * s.k, {units, 0.005f}},
                   context);
        };
        step(expected, ref::sign_round_step);
        step(actual, cpu::sign_round_step);
      }
      EXPECT_EQ(expected.v, actual.v);
      EXPECT_EQ(expected.alpha, actual.alpha);
      EXPECT_EQ(expected.beta, actual.beta);
      EXPECT_NE(expected.v, Subject(7, 384, 128).v);
    }
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

// Sign steps said as data give the bits of a function that takes the tiles.
TEST(SignRoundUpdate, DoesWhatAStepAndARoundingOfEachTileDo) {
  const int64_t n = 70, k = 256, tokens = 30;
  const SignRoundRule rule{.v_unit = 1e-4f};
  const SignRoundStepSizes sizes{37, 0.004f};
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  std::vector<float> x(tokens * k), dy(tokens * n);
  for (float& value : x) value = normal(random);
  for (float& value : dy) value = normal(random);
  Workspace workspace;
  const OpContext context{{2}, workspace};
  for (const auto& [tiles, step, round] :
       {std::tuple{&ref::weight_gradient_tiles, &ref::sign_round_step, &ref::sign_round},
        std::tuple{&cpu::weight_gradient_tiles, &cpu::sign_round_step, &cpu::sign_round}}) {
    Subject by_function(n, k, 128), by_data(n, k, 128);
    std::vector<uint16_t> expected(n * k), actual(n * k);
    const WeightGradientConsumer consume = [&](const WeightGradientTile& tile) {
      const SignRoundRows rows = by_function.rows(tile.row_begin, tile.row_end);
      step(by_function.weight(), rule, rows, {tile.values, sizes}, context);
      round(by_function.weight(), rule, rows, {DType::bf16, expected.data()}, context);
    };
    const SignRoundTarget targets[] = {
        {}, {by_data.weight(), by_data.rows(0, 0), {DType::bf16, actual.data()}}};
    const SignRoundUpdate update{rule, &sizes, targets};
    WeightGradientJob job{.matrix = 1,
                          .x = x.data(),
                          .dy = dy.data(),
                          .rows = tokens,
                          .n = n,
                          .k = k,
                          .x_stride = k,
                          .dy_stride = n};
    tiles({&job, 1}, {.consume = &consume}, context);
    tiles({&job, 1}, {.update = &update}, context);
    EXPECT_EQ(by_data.v, by_function.v);
    EXPECT_EQ(by_data.alpha, by_function.alpha);
    EXPECT_EQ(by_data.beta, by_function.beta);
    EXPECT_EQ(actual, expected);
    EXPECT_NE(by_data.v, Subject(n, k, 128).v);
    job.matrix = 0;  // not wanted
    tiles({&job, 1}, {.update = &update}, context);
    EXPECT_EQ(by_data.v, by_function.v);
  }
}

}  // namespace
}  // namespace qround::ops
