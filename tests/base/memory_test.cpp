#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/disk.h"

namespace qround {
namespace {

constexpr size_t kBytes = size_t{64} << 20;

TEST(ResidentMemory, CountsWhatIsAllocatedAndTouched) {
  const uint64_t before = resident_memory().private_bytes();
  std::vector<char> block(kBytes, 1);
  EXPECT_GE(resident_memory().private_bytes(), before + kBytes / 2);
  EXPECT_EQ(block[kBytes / 2], 1);
}

TEST(PeakMemory, RemembersWhatWasFreed) {
  PeakMemory peak;
  const uint64_t before = peak.peak_bytes();
  {
    std::vector<char> block(kBytes, 1);
    EXPECT_EQ(block[kBytes / 2], 1);
    peak.peak_bytes();
  }
  EXPECT_GE(peak.peak_bytes(), before + kBytes / 2);
}

TEST(AvailableMemory, IsKnownHere) { EXPECT_GT(available_memory_bytes(), 0u); }

TEST(FreeDisk, AsksTheNearestAncestorThatExists) {
  EXPECT_GT(free_disk_bytes("/tmp"), 0u);
  EXPECT_GT(free_disk_bytes("/tmp/qround/not/there/yet"), 0u);
}

}  // namespace
}  // namespace qround
