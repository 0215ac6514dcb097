#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace qround {
namespace {

TEST(ParallelFor, VisitsEveryIndexOnce) {
  for (const int count : {1, 2, 5}) {
    std::vector<std::atomic<int>> visits(1000);
    parallel_for(Threads{count}, visits.size(), [&](size_t index, int worker) {
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, count);
      ++visits[index];
    });
    for (const auto& visit : visits) EXPECT_EQ(visit, 1);
  }
}

TEST(ParallelFor, RethrowsTheFailureOfABody) {
  for (const int count : {1, 3}) {
    EXPECT_THROW(parallel_for(Threads{count}, 100,
                              [](size_t index, int) {
                                if (index == 57) throw std::runtime_error("57");
                              }),
                 std::runtime_error);
  }
}

TEST(ParallelFor, RunsNestedLoopsInOneThread) {
  std::atomic<int> total{0};
  parallel_for(Threads{2}, 4, [&](size_t, int) {
    parallel_for(Threads{2}, 10, [&](size_t, int worker) {
      EXPECT_EQ(worker, 0);
      ++total;
    });
  });
  EXPECT_EQ(total, 40);
}

}  // namespace
}  // namespace qround
