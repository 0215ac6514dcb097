#include "ops/backend.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qround::ops {
namespace {

TEST(Backend, TheBestUsableOneIsChosenWhenNoneIsNamed) {
  for (const Backend& backend : backends()) {
    if (!backend.unusable_because.empty() || backend.only_by_name) continue;
    EXPECT_EQ(select_backend("").name, backend.name);
    break;
  }
  EXPECT_EQ(backends().front().name.substr(0, 4), "cuda");
}

TEST(Backend, WorkOnHostMemoryGetsNoDevice) { EXPECT_EQ(select_host_backend().name, "cpu"); }

TEST(Backend, OfHostsAndDevicesKnowsWhereItsOperandsLie) {
  EXPECT_TRUE(select_backend("cpu").memory->is_host);
  EXPECT_TRUE(select_backend("ref").memory->is_host);
  EXPECT_FALSE(backends().front().table != nullptr && backends().front().table->memory->is_host);
}

TEST(Backend, ANamedBackendReallyRuns) {
  EXPECT_EQ(select_backend("ref").name, "ref");
  EXPECT_EQ(select_backend("ref").linear, ref::linear);
  EXPECT_EQ(select_backend("ref").gated_delta_rule, ref::gated_delta_rule);
  EXPECT_EQ(select_backend("cpu").name, "cpu");
}

TEST(Backend, CpuReplacesEveryForwardOperation) {
  const OpTable &fast = select_backend("cpu"), &definition = select_backend("ref");
  EXPECT_EQ(fast.linear, cpu::linear);
  EXPECT_EQ(fast.dequantize_rows, cpu::dequantize_rows);
  EXPECT_EQ(fast.zero_centered_rms_norm, cpu::zero_centered_rms_norm);
  EXPECT_EQ(fast.gated_rms_norm, cpu::gated_rms_norm);
  EXPECT_EQ(fast.l2_norm, cpu::l2_norm);
  EXPECT_EQ(fast.rotary_embedding, cpu::rotary_embedding);
  EXPECT_EQ(fast.causal_attention, cpu::causal_attention);
  EXPECT_EQ(fast.causal_conv1d_silu, cpu::causal_conv1d_silu);
  EXPECT_EQ(fast.delta_rule_gates, cpu::delta_rule_gates);
  EXPECT_EQ(fast.gated_delta_rule, cpu::gated_delta_rule);
  EXPECT_EQ(fast.route, cpu::route);
  EXPECT_EQ(fast.experts, cpu::experts);
  EXPECT_EQ(fast.swiglu, cpu::swiglu);
  EXPECT_EQ(fast.sigmoid_gate, cpu::sigmoid_gate);
  EXPECT_NE(fast.linear, definition.linear);
}

TEST(Backend, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    select_backend("abacus");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.actual(), "abacus");
    EXPECT_NE(error.expected().find("cpu"), std::string::npos);
    EXPECT_NE(error.expected().find("ref"), std::string::npos);
  }
}

TEST(Backend, TheVectorTargetHasAName) { EXPECT_FALSE(simd_target().empty()); }

}  // namespace
}  // namespace qround::ops
