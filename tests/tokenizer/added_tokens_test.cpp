#include "tokenizer/added_tokens.h"

#include <gtest/gtest.h>

namespace qround {
namespace {

struct Found {
  int32_t id;
  std::string text;
  friend bool operator==(const Found&, const Found&) = default;
};

AddedTokenMatcher matcher_of(const std::vector<AddedToken>& tokens) {
  AddedTokenMatcher matcher;
  for (const AddedToken& token : tokens) matcher.add(token.content, token);
  return matcher;
}

std::vector<Found> find(const std::vector<AddedToken>& tokens, std::string_view text,
                        ParseTokens parse = ParseTokens::all) {
  std::vector<Found> found;
  for (const auto& match : matcher_of(tokens).find(text, parse)) {
    found.push_back({match.id, std::string(text.substr(match.begin, match.end - match.begin))});
  }
  return found;
}

using All = std::vector<Found>;

TEST(AddedTokens, TheLeftmostAndThenTheLongestWins) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "ab"}, {.id = 2, .content = "abcd"}, {.id = 3, .content = "bcdef"}};
  EXPECT_EQ(find(tokens, "xabcdefab"), (All{{2, "abcd"}, {1, "ab"}}));
  EXPECT_EQ(find(tokens, "abcabcx"), (All{{1, "ab"}, {1, "ab"}}));
  EXPECT_EQ(find(tokens, "bcdefabc"), (All{{3, "bcdef"}, {1, "ab"}}));
  EXPECT_EQ(find(tokens, "a"), All{});
  EXPECT_EQ(find(tokens, ""), All{});
}

TEST(AddedTokens, TakeWhiteSpaceAlongWhenAskedTo) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "[L]", .lstrip = true},
                                          {.id = 2, .content = "[R]", .rstrip = true}};
  EXPECT_EQ(find(tokens, "x \u2003[L] y"), (All{{1, " \u2003[L]"}}));
  EXPECT_EQ(find(tokens, "x [R]\n\u00A0y"), (All{{2, "[R]\n\u00A0"}}));
  EXPECT_EQ(find(tokens, "[R]  [L]"), (All{{2, "[R]  "}, {1, "[L]"}}));
}

TEST(AddedTokens, TextOfTokensThatAreNotParsedIsText) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "<end>", .special = true},
                                          {.id = 2, .content = "<think>"}};
  EXPECT_EQ(find(tokens, "<end><think>"), (All{{1, "<end>"}, {2, "<think>"}}));
  EXPECT_EQ(find(tokens, "<end><think>", ParseTokens::non_special), (All{{2, "<think>"}}));
  EXPECT_EQ(find(tokens, "<end><think>", ParseTokens::none), All{});
}

}  // namespace
}  // namespace qround
