#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

namespace qround {
namespace {

TEST(StopMatcher, FindsAStopThatArrivesInPieces) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("abcS"), "abc");
  EXPECT_EQ(matcher.push("TO"), "");
  EXPECT_EQ(matcher.push("P more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, GivesBackWhatTurnsOutToBeNoStop) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("ST"), "");
  EXPECT_EQ(matcher.push("AR"), "STAR");
  EXPECT_EQ(matcher.push("S"), "");
  EXPECT_EQ(matcher.flush(), "S");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, TakesTheFirstOfSeveralStops) {
  StopMatcher matcher({"two", "one", ""});
  EXPECT_EQ(matcher.push("zero one two"), "zero ");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, WithoutStopsPassesEverything) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_EQ(matcher.flush(), "");
}

}  // namespace
}  // namespace qround
