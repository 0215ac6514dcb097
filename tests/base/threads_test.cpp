#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
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

TEST(ParallelFor, LoopsOfSeveralThreadsRunSideBySide) {
  std::vector<std::thread> callers;
  std::atomic<int> total{0};
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int loop = 0; loop < 200; ++loop)
        parallel_for(Threads{1 + loop % 4}, 7, [&](size_t, int) { ++total; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 7);
}

// The pause is longer than helpers spin.
TEST(ParallelFor, SleepingHelpersWakeUp) {
  std::vector<std::atomic<int>> workers(3);
  for (int loop = 0; loop < 20; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<size_t> started{0};
    parallel_for(Threads{3}, 3, [&](size_t, int worker) {
      ++workers[static_cast<size_t>(worker)];
      ++started;
      while (started < 3) std::this_thread::yield();  // so each takes one
    });
  }
  for (const auto& loops : workers) EXPECT_EQ(loops, 20);
}

}  // namespace
}  // namespace qround
