#include "stream/activation_store.h"

#include <gtest/gtest.h>

#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

constexpr int64_t kSamples = 5, kFloats = 1000;

void expect_keeps_samples(ActivationStore store) {
  for (int64_t i = 0; i < kSamples; ++i) {
    EXPECT_EQ(store.sample(i)[0], 0.0f);
    store.sample(i)[kFloats - 1] = static_cast<float>(i);
  }
  const ActivationStore moved = std::move(store);
  for (int64_t i = 0; i < kSamples; ++i) {
    moved.prefetch(i);
    EXPECT_EQ(moved.sample(i)[kFloats - 1], static_cast<float>(i));
  }
}

TEST(ActivationStore, KeepsSamplesInMemory) {
  expect_keeps_samples(ActivationStore(kSamples, kFloats));
}

TEST(ActivationStore, KeepsSamplesInAFileWithoutAName) {
  const TestDirectory directory;
  expect_keeps_samples(ActivationStore(kSamples, kFloats, directory.path()));
  ActivationStore store(kSamples, kFloats, directory.path());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(ActivationStore, InAFileTakesNoPrivateMemory) {
  const TestDirectory directory;
  constexpr int64_t kLarge = int64_t{8} << 20;
  ActivationStore store(4, kLarge, directory.path());
  const uint64_t before = resident_memory().private_bytes();
  for (int64_t sample = 0; sample < 4; ++sample) std::fill_n(store.sample(sample), kLarge, 1.0f);
  EXPECT_LT(resident_memory().private_bytes(), before + (uint64_t{16} << 20));
}

TEST(ActivationStore, RefusesADiskThatIsTooSmall) {
  const TestDirectory directory;
  try {
    const ActivationStore store(int64_t{1} << 20, int64_t{1} << 30, directory.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource) << error.what();
  }
}

}  // namespace
}  // namespace qround
