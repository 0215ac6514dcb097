#include "tokenizer/nfc.h"

#include <gtest/gtest.h>

#include <ctime>

namespace qround {
namespace {

std::string nfc(std::string_view text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}

TEST(Nfc, ReturnsTheTextItselfWhenNothingChanges) {
  std::string buffer;
  for (const std::string_view text :
       {"", "plain", "naïve café", "漢字かな", "हिन्दी", "🙂👍🏽", "ﬁ ① ½"}) {
    EXPECT_EQ(nfc(text), text);
  }
  const std::string_view text = "nothing to do here, é 漢字";
  EXPECT_EQ(to_nfc(text, buffer).data(), text.data());
}

TEST(Nfc, JoinsLettersAndMarks) {
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("cafe\u0301 e\u0301"), "café é");
  EXPECT_EQ(nfc("12345678e\u0301"), "12345678é");  // the letter ends a stretch of eight
  EXPECT_EQ(nfc("\u0301e"), "\u0301e");
  EXPECT_EQ(nfc("か\u3099"), "が");
  EXPECT_EQ(nfc("o\u031B\u0316"), "ơ\u0316");
  EXPECT_EQ(nfc("\u212B \u2126 \u212A"), "Å Ω K");
  EXPECT_EQ(nfc("\uF900\u2F81A"), "豈\u2F81A");
}

TEST(Nfc, SortsMarksByTheirClass) {
  EXPECT_EQ(nfc("一\u0300\u0316"), "一\u0316\u0300");
  EXPECT_EQ(nfc("a\u0316\u0300"), "à\u0316");
  EXPECT_EQ(nfc("क\u094D\u093C"), "क\u093C\u094D");
  EXPECT_EQ(nfc("\u0300\u0316"), "\u0316\u0300");  // marks without a letter
}

TEST(Nfc, DoesNotJoinWhatIsExcludedFromJoining) {
  EXPECT_EQ(nfc("\u0958"), "क\u093C");
  EXPECT_EQ(nfc("क\u093C"), "क\u093C");
}

TEST(Nfc, JoinsHangulSyllables) {
  EXPECT_EQ(nfc("\u1100\u1161"), "가");
  EXPECT_EQ(nfc("\u1100\u1161\u11A8"), "각");
  EXPECT_EQ(nfc("가\u11A8"), "각");
  EXPECT_EQ(nfc("각\u11A8"), "각\u11A8");
  EXPECT_EQ(nfc("가\u11A7"), "가\u11A7");
}

// The reference's NFC knows Unicode 9: later marks have no class there, later pairs do not join.
TEST(Nfc, LeavesCharactersAloneThatTheReferenceDoesNotKnow) {
  EXPECT_EQ(nfc("一\U0001E130\u0316"), "一\U0001E130\u0316");
  EXPECT_EQ(nfc("一\u0300\u1DF6"), "一\u0300\u1DF6");
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(Nfc, LongRunsOfMarksTakeNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 250'000; ++i) text += i % 2 ? "\u0316" : "\u0301";
  const std::clock_t start = std::clock();
  const std::string result = nfc(text);
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 5);
  EXPECT_TRUE(result.starts_with("á\u0316\u0316"));  // the first acute joins the letter
  EXPECT_TRUE(result.ends_with("\u0301\u0301"));
}

}  // namespace
}  // namespace qround
