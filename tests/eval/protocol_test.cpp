#include "eval/protocol.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace qround::eval {
namespace {

std::vector<int32_t> counting(size_t n) {
  std::vector<int32_t> ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// Tokens of the text that some window's scored row predicts, in order. Ids are positions.
std::vector<int32_t> predicted(const WindowedText& text) {
  std::vector<int32_t> targets;
  for (const Window& window : text.windows)
    for (int64_t row = window.first_row; row < window.target_end; ++row)
      targets.push_back(text.ids(window)[static_cast<size_t>(row + 1)]);
  return targets;
}

TEST(Protocol, LlamaCppScoresTheSecondHalfOfEachWindow) {
  const WindowedText text = cut_windows(counting(1100), protocol_named("llama.cpp"));
  ASSERT_EQ(text.windows.size(), 2u);
  for (const Window& window : text.windows) {
    EXPECT_EQ(window.first_row, 256);
    EXPECT_EQ(window.targets(), 255);
    EXPECT_EQ(window.compared(), 255);
  }
  EXPECT_EQ(text.ids(text.windows[1])[0], 512);
  EXPECT_EQ(predicted(text).front(), 257);
}

TEST(Protocol, HuggingFaceScoresEveryTokenButTheFirstOnce) {
  Protocol protocol = protocol_named("hf");
  for (const int64_t total : {300, 2048, 2049, 2560, 5000}) {
    const WindowedText text = cut_windows(counting(static_cast<size_t>(total)), protocol);
    std::vector<int32_t> expected = counting(static_cast<size_t>(total));
    expected.erase(expected.begin());
    EXPECT_EQ(predicted(text), expected) << total;
  }
  protocol.stride = 2048;  // as papers do
  const WindowedText text = cut_windows(counting(4096), protocol);
  ASSERT_EQ(text.windows.size(), 2u);
  EXPECT_EQ(text.windows[1].first_row, 0);
}

TEST(Protocol, WindowsCompareTheLastRowToo) {
  const WindowedText text = cut_windows(counting(600), protocol_named("windows"));
  ASSERT_EQ(text.windows.size(), 2u);
  EXPECT_EQ(text.windows[0].targets(), 255);
  EXPECT_EQ(text.windows[0].compared(), 256);
}

TEST(Protocol, BosReplacesTheFirstTokenOfEachWindow) {
  Protocol protocol = protocol_named("windows");
  protocol.bos = 7;
  const WindowedText text = cut_windows(counting(600), protocol);
  EXPECT_EQ(text.ids(text.windows[0])[0], 7);
  EXPECT_EQ(text.ids(text.windows[1])[0], 7);
  EXPECT_EQ(text.ids(text.windows[1])[1], 257);
}

TEST(Protocol, LimitIsKept) {
  Protocol protocol = protocol_named("windows");
  protocol.max_windows = 3;
  EXPECT_EQ(cut_windows(counting(10000), protocol).windows.size(), 3u);
}

TEST(Protocol, TooShortTextsAndSenselessNumbersAreErrors) {
  EXPECT_THROW(cut_windows(counting(100), protocol_named("windows")), Error);
  EXPECT_THROW(cut_windows(counting(1), protocol_named("hf")), Error);
  EXPECT_THROW(protocol_named("lm-eval"), Error);
  Protocol protocol = protocol_named("windows");
  protocol.stride = 0;
  EXPECT_THROW(cut_windows(counting(600), protocol), Error);
}

}  // namespace
}  // namespace qround::eval
