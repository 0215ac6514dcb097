#include "ops/rehearsal.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {
namespace {

TEST(MemoryMeter, CountsPiecesAndKeepsTheLimit) {
  MemoryMeter meter(3 * MemoryMeter::kPieceBytes);
  Memory memory = kHostMemory;
  memory.meter = &meter;
  {
    Buffer<std::byte> one(memory, 1);
    EXPECT_EQ(meter.used_bytes(), MemoryMeter::kPieceBytes);
    Buffer<std::byte> two(memory, MemoryMeter::kPieceBytes + 1);
    EXPECT_EQ(meter.used_bytes(), 3 * MemoryMeter::kPieceBytes);
    EXPECT_THROW(Buffer<std::byte>(memory, 1), Error);
    EXPECT_EQ(meter.used_bytes(), 3 * MemoryMeter::kPieceBytes);
  }
  EXPECT_EQ(meter.used_bytes(), 0u);
  EXPECT_EQ(meter.peak_bytes(), 3 * MemoryMeter::kPieceBytes);
}

// The scratch of an operation, found without doing it, is what doing it takes.
TEST(Rehearsal, TakesWhatTheWorkTakes) {
  for (const Backend& backend : backends()) {
    if (backend.rehearsal == nullptr) continue;
    constexpr int64_t kRows = 37, kWidth = 72;
    const auto error = [](const OpTable& table, const OpContext& context) {
      Buffer<float> y(*table.memory, kRows * kWidth), target(*table.memory, kRows * kWidth);
      Buffer<double> loss(*table.memory, 1);
      y.fill_zero(context.stream);
      target.fill_zero(context.stream);
      table.squared_error({.y = y.data(),
                           .target = target.data(),
                           .loss = loss.data(),
                           .rows = kRows,
                           .width = kWidth},
                          context);
    };
    Rehearsal rehearsal(backend);
    error(rehearsal.table(), rehearsal.context({1}, true));
    EXPECT_EQ(rehearsal.buffer_bytes(), 2 * 10752u + 512u);
    EXPECT_GT(rehearsal.workspace_bytes(), 0u);
    if (!backend.unusable_because.empty()) continue;
    OnBackend on(*backend.table);
    error(*backend.table, on.context);
    EXPECT_EQ(rehearsal.workspace_bytes(), on.workspace.peak_bytes());
  }
}

}  // namespace
}  // namespace qround::ops
