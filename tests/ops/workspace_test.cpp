#include "ops/workspace.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace qround::ops {
namespace {

TEST(Workspace, MemoryIsAlignedAndDisjoint) {
  Workspace workspace;
  Workspace::Scope scope(workspace);
  const auto first = scope.take<float>(3);
  const auto second = scope.take<float>(5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second.data()) % 64, 0u);
  EXPECT_GE(second.data(), first.data() + first.size());
}

TEST(Workspace, ASecondPassReusesTheMemoryOfTheFirst) {
  Workspace workspace;
  size_t after_first = 0;
  for (int pass = 0; pass < 5; ++pass) {
    Workspace::Scope outer(workspace);
    outer.take<float>(400000);
    for (int step = 0; step < 3; ++step) {
      Workspace::Scope inner(workspace);
      inner.take<float>(1000000);
    }
    if (pass == 0) after_first = workspace.reserved_bytes();
  }
  EXPECT_EQ(workspace.reserved_bytes(), after_first);
}

TEST(Workspace, AnInnerScopeDoesNotDisturbTheOuterOne) {
  Workspace workspace;
  Workspace::Scope outer(workspace);
  const auto kept = outer.take<int>(300000);
  for (size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<int>(i);
  {
    Workspace::Scope inner(workspace);
    const auto scratch = inner.take<int>(3000000);
    for (int& value : scratch) value = -1;
  }
  const auto later = outer.take<int>(1000);
  for (int& value : later) value = -2;
  for (size_t i = 0; i < kept.size(); ++i) ASSERT_EQ(kept[i], static_cast<int>(i));
}

}  // namespace
}  // namespace qround::ops
