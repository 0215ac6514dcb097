#include "ops/gating.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

constexpr float kTiny = std::numeric_limits<float>::min();

std::vector<float> relative_tolerances(const std::vector<float>& expected) {
  std::vector<float> tolerances;
  for (float value : expected) tolerances.push_back(8 * kEps * std::abs(value) + kTiny);
  return tolerances;
}

std::vector<float> run_swiglu(const OpTable& table, const std::vector<float>& gate,
                              const std::vector<float>& up, int threads) {
  OnBackend on(table, threads);
  const auto g = on.copy_of(gate), u = on.copy_of(up);
  auto out = on.nans(gate.size());
  table.swiglu(g.data(), u.data(), g.size(), out.data(), on.context);
  return out.to_vector();
}

std::vector<float> run_gate(const OpTable& table, const std::vector<float>& values,
                            const std::vector<float>& gate, int64_t width, int64_t gate_width,
                            int threads) {
  OnBackend on(table, threads);
  auto x = on.copy_of(values);
  const auto g = on.copy_of(gate);
  table.sigmoid_gate({.x = x.data(),
                      .gate = g.data(),
                      .rows = x.size() / width,
                      .width = width,
                      .gate_width = gate_width},
                     on.context);
  return x.to_vector();
}

class Swiglu : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Swiglu);

TEST_P(Swiglu, EqualsDefinitionOverTheWholeRange) {
  RandomValues random(1);
  for (const int64_t count : {1, 2, 7, 64, 130, 40000}) {
    const auto gate = random.uniform(count, -100, 100), up = random.normal(count);
    const auto expected = run_swiglu(ref_table(), gate, up, 1);
    expect_close(run_swiglu(table(), gate, up, 2), expected, relative_tolerances(expected),
                 random.seed());
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run_swiglu(table(), gate, up, threads); });
  }
}

TEST_P(Swiglu, ExtremesSaturateAndNotANumberStays) {
  const std::vector<float> gate = {-1e30f, -200, 0, 200, 1e30f, NAN}, up(6, 1);
  const auto out = run_swiglu(table(), gate, up, 1);
  EXPECT_NEAR(out[0], 0, 1e-30);
  EXPECT_NEAR(out[1], 0, 1e-30);
  EXPECT_EQ(out[2], 0);
  EXPECT_EQ(out[3], 200);
  EXPECT_EQ(out[4], 1e30f);
  EXPECT_TRUE(std::isnan(out[5]));
}

TEST_P(Swiglu, MayWriteOverItsOperands) {
  RandomValues random(2);
  const auto gate = random.normal(300), up = random.normal(300);
  const auto expected = run_swiglu(table(), gate, up, 1);
  for (const bool over_gate : {true, false}) {
    OnBackend on(table());
    auto g = on.copy_of(gate), u = on.copy_of(up);
    auto& out = over_gate ? g : u;
    table().swiglu(g.data(), u.data(), 300, out.data(), on.context);
    EXPECT_EQ(out.to_vector(), expected);
  }
}

class SigmoidGate : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(SigmoidGate);

TEST_P(SigmoidGate, EqualsDefinitionWithOneGateOrMany) {
  RandomValues random(3);
  for (const int64_t rows : {1, 2, 3, 65, 130})
    for (const int64_t width : {1, 8, 37, 256, 4096})
      for (const int64_t gate_width : {int64_t{1}, width}) {
        if (rows * width > 300000) continue;
        const auto x = random.normal(rows * width),
                   gate = random.uniform(rows * gate_width, -90, 90);
        const auto expected = run_gate(ref_table(), x, gate, width, gate_width, 1);
        expect_close(run_gate(table(), x, gate, width, gate_width, 2), expected,
                     relative_tolerances(expected), random.seed());
        expect_same_bits_for_all_thread_counts(
            [&](int threads) { return run_gate(table(), x, gate, width, gate_width, threads); });
      }
}

}  // namespace
}  // namespace qround::ops
