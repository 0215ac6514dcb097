#include "ops/gating.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

constexpr float kTiny = std::numeric_limits<float>::min();

std::vector<float> relative_tolerances(const std::vector<float>& expected) {
  std::vector<float> tolerances;
  for (float value : expected) tolerances.push_back(8 * kEps * std::abs(value) + kTiny);
  return tolerances;
}

std::vector<float> run_swiglu(SwigluFunction* swiglu, const std::vector<float>& gate,
                              const std::vector<float>& up, int threads) {
  Workspace workspace;
  std::vector<float> out(gate.size(), NAN);
  swiglu(gate.data(), up.data(), static_cast<int64_t>(gate.size()), out.data(),
         {.threads = {threads}, .workspace = workspace});
  return out;
}

std::vector<float> run_gate(SigmoidGateFunction* sigmoid_gate, std::vector<float> x,
                            const std::vector<float>& gate, int64_t width, int64_t gate_width,
                            int threads) {
  Workspace workspace;
  sigmoid_gate({.x = x.data(),
                .gate = gate.data(),
                .rows = static_cast<int64_t>(x.size()) / width,
                .width = width,
                .gate_width = gate_width},
               {.threads = {threads}, .workspace = workspace});
  return x;
}

TEST(Swiglu, FastVersionEqualsDefinitionOverTheWholeRange) {
  RandomValues random(1);
  for (const int64_t count : {1, 2, 7, 64, 130, 40000}) {
    const auto gate = random.uniform(count, -100, 100), up = random.normal(count);
    const auto expected = run_swiglu(ref::swiglu, gate, up, 1);
    expect_close(run_swiglu(cpu::swiglu, gate, up, 2), expected, relative_tolerances(expected),
                 random.seed());
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run_swiglu(cpu::swiglu, gate, up, threads); });
  }
}

TEST(Swiglu, ExtremesSaturateAndNotANumberStays) {
  const std::vector<float> gate = {-1e30f, -200, 0, 200, 1e30f, NAN}, up(6, 1);
  const auto out = run_swiglu(cpu::swiglu, gate, up, 1);
  EXPECT_NEAR(out[0], 0, 1e-30);
  EXPECT_NEAR(out[1], 0, 1e-30);
  EXPECT_EQ(out[2], 0);
  EXPECT_EQ(out[3], 200);
  EXPECT_EQ(out[4], 1e30f);
  EXPECT_TRUE(std::isnan(out[5]));
}

TEST(Swiglu, MayWriteOverItsOperands) {
  RandomValues random(2);
  Workspace workspace;
  const auto gate = random.normal(300), up = random.normal(300);
  const auto expected = run_swiglu(cpu::swiglu, gate, up, 1);
  for (const bool over_gate : {true, false}) {
    auto g = gate, u = up;
    cpu::swiglu(g.data(), u.data(), 300, over_gate ? g.data() : u.data(),
                {.threads = {2}, .workspace = workspace});
    EXPECT_EQ(over_gate ? g : u, expected);
  }
}

TEST(SigmoidGate, FastVersionEqualsDefinitionWithOneGateOrMany) {
  RandomValues random(3);
  for (const int64_t rows : {1, 2, 3, 65, 130})
    for (const int64_t width : {1, 8, 37, 256, 4096})
      for (const int64_t gate_width : {int64_t{1}, width}) {
        if (rows * width > 300000) continue;
        const auto x = random.normal(rows * width),
                   gate = random.uniform(rows * gate_width, -90, 90);
        const auto expected = run_gate(ref::sigmoid_gate, x, gate, width, gate_width, 1);
        expect_close(run_gate(cpu::sigmoid_gate, x, gate, width, gate_width, 2), expected,
                     relative_tolerances(expected), random.seed());
        expect_same_bits_for_all_thread_counts([&](int threads) {
          return run_gate(cpu::sigmoid_gate, x, gate, width, gate_width, threads);
        });
      }
}

}  // namespace
}  // namespace qround::ops
