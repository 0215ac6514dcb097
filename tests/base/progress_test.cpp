#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qround {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

class ProgressTest : public testing::Test {
 protected:
  Progress make(bool terminal, int columns = 80) {
    return Progress({.write = [this](std::string_view text) { text_ += text; },
                     .terminal = terminal,
                     .columns = columns},
                    [this] { return time_; });
  }

  std::string text_;
  std::chrono::nanoseconds time_ = milliseconds(1000);
};

TEST_F(ProgressTest, WritesPlainLinesSeldomWhereThereIsNoTerminal) {
  Progress progress = make(false);
  progress.start("quantize", 4'000'000'000);
  progress.advance(1'000'000'000);
  EXPECT_EQ(text_, "");
  time_ += milliseconds(6000);
  progress.advance(1'000'000'000);
  EXPECT_EQ(text_, "quantize: 50%, 2.00 GB of 4.00 GB, 333 MB/s, 6.0 s left\n");
  progress.finish();
  EXPECT_THAT(text_, HasSubstr("quantize: 2.00 GB in 6.0 s, 333 MB/s\n"));
  EXPECT_THAT(text_, Not(HasSubstr("\r")));
}

TEST_F(ProgressTest, RedrawsOneBarOnATerminal) {
  Progress progress = make(true);
  progress.start("verify", 1000, Progress::Unit::items);
  for (int step = 0; step < 10; ++step) {
    time_ += milliseconds(200);
    progress.advance(50);
  }
  EXPECT_THAT(text_, HasSubstr("50%"));
  EXPECT_THAT(text_, HasSubstr("=>"));
  EXPECT_THAT(text_, HasSubstr("2.0 s left"));
  EXPECT_THAT(text_, Not(HasSubstr("\n")));
  progress.finish();
  EXPECT_EQ(std::count(text_.begin(), text_.end(), '\n'), 1);
}

TEST_F(ProgressTest, StaysWithinNarrowTerminals) {
  Progress progress = make(true, 30);
  progress.start("quantize", 100);
  progress.advance(50);
  for (size_t begin = 0; begin < text_.size();) {
    const size_t end = std::min(text_.find('\r', begin), text_.size());
    EXPECT_LE(end - begin, 30 + std::string("\x1b[K").size());
    begin = end + 1;
  }
}

TEST_F(ProgressTest, KeepsTheBarBelowLastingLines) {
  Progress progress = make(true);
  progress.start("tune", 10, Progress::Unit::items);
  progress.line("layer 0: 0.1 -> 0.05");
  const size_t line = text_.find("layer 0: 0.1 -> 0.05\n");
  ASSERT_NE(line, std::string::npos);
  EXPECT_NE(text_.find("tune", line), std::string::npos) << "the bar is drawn again";
}

TEST_F(ProgressTest, SaysNothingWithoutASink) {
  Progress silent;
  silent.start("quantize", 10);
  silent.advance(10);
  silent.line("text");
  silent.finish();
  silent.cancel();
}

TEST(BytesText, HasThreeDigitsAtMost) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1234), "1.23 kB");
  EXPECT_EQ(bytes_text(12'345), "12.3 kB");
  EXPECT_EQ(bytes_text(999'900), "1.00 MB");
  EXPECT_EQ(bytes_text(71'903'645'408), "71.9 GB");
}

TEST(DurationText, UsesTheUnitsOfItsLength) {
  EXPECT_EQ(duration_text(0.25), "250 ms");
  EXPECT_EQ(duration_text(3.14), "3.1 s");
  EXPECT_EQ(duration_text(59.7), "1 min 0 s");
  EXPECT_EQ(duration_text(7500), "2 h 5 min");
}

}  // namespace
}  // namespace qround
