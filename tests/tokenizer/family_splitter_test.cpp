// The hand-written splitter against the regular expression it stands for.
#include "tokenizer/family_splitter.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tokenizer/regex_splitter.h"
#include "tokenizer/unicode_ranges.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

constexpr const char* kPatterns[] = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

std::vector<std::string_view> split(const FamilySplitter& splitter, std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = splitter.word_end(text, begin);
    if (end <= begin) {
      ADD_FAILURE() << "no progress in " << text;
      break;
    }
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

class Pair {
 public:
  explicit Pair(const char* pattern)
      : family_(*FamilySplitter::for_pattern(pattern)), regex_(pattern) {}

  void expect_equal(std::string_view text) {
    words_.clear();
    regex_.split(text, words_);
    ASSERT_EQ(split(family_, text), words_) << "text: " << testing::PrintToString(text);
  }

 private:
  FamilySplitter family_;
  RegexSplitter regex_;
  std::vector<std::string_view> words_;
};

std::string utf8(uint32_t code) {
  std::string text;
  append_utf8(code, text);
  return text;
}

bool is_character(uint32_t code) { return code < 0xD800 || (code > 0xDFFF && code < 0x110000); }

// Every character near which a class begins or ends, all low ones, and some in between.
std::set<uint32_t> telling_characters() {
  std::set<uint32_t> codes;
  for (uint32_t code = 1; code < 0x600; ++code) codes.insert(code);
  for (const uint32_t* ranges : {kLetterRanges, kMarkRanges, kNumberRanges, kSpaceRanges}) {
    for (uint32_t i = 1; i <= 2 * ranges[0]; ++i) {
      codes.insert({ranges[i] - 1, ranges[i], ranges[i] + 1});
    }
  }
  std::mt19937 random(3);
  while (codes.size() < 12'000) codes.insert(static_cast<uint32_t>(random() % 0x110000));
  std::erase_if(codes, [](uint32_t code) { return !is_character(code); });
  return codes;
}

// `character` where the pattern's alternatives meet.
std::string surroundings_of(const std::string& character) {
  std::string text;
  for (const char* before : {"", " ", "a", "'", "\n", "9", "  ", "!", "\u0301"}) {
    for (const char* after : {"", "a", "\r\n", " ", "\u0301", "!", "l"}) {
      text += before + character + after;
    }
  }
  return text + character;
}

TEST(FamilySplitter, TreatsEveryKindOfCharacterAsTheRegularExpressionDoes) {
  for (const char* pattern : kPatterns) {
    Pair pair(pattern);
    for (const uint32_t code : telling_characters()) {
      ASSERT_NO_FATAL_FAILURE(pair.expect_equal(surroundings_of(utf8(code))));
    }
  }
}

TEST(FullFamilySplitter, TreatsEveryCharacterAsTheRegularExpressionDoes) {
  for (const char* pattern : kPatterns) {
    Pair pair(pattern);
    for (uint32_t code = 1; code < 0x110000; ++code) {
      if (!is_character(code)) continue;
      ASSERT_NO_FATAL_FAILURE(pair.expect_equal(surroundings_of(utf8(code))));
    }
  }
}

TEST(FamilySplitter, SplitsRandomTextsAsTheRegularExpressionDoes) {
  const std::vector<std::string> alphabet = {
      "a",          "S",         "s",      "t",      "RE",
      "ve",         "m",         "LL",     "l",      "d",
      "e",          "'",         "'",      "'",      " ",
      " ",          "\n",        "\r",     "\t",     "\u00A0",
      "\u3000",     "\u2028",    "\u0085", "1",      "\u0663",
      "½",          "é",         "ß",      "漢",     "\u0301",
      "\u093F",     "\u20DD",    "!",      "-",      "…",
      "🙂",         "\u200D",    "_",      "\u017F", "\u212A",
      "\U0001E130", "\u1C89",    "\v",     "\f",     std::string(1, '\0'),
      "\uFFFD",     "\U0010FFFF"};
  std::mt19937 random(11);
  for (const char* pattern : kPatterns) {
    Pair pair(pattern);
    for (int round = 0; round < 60'000; ++round) {
      std::string text;
      for (size_t length = random() % 12; length > 0; --length)
        text += alphabet[random() % alphabet.size()];
      ASSERT_NO_FATAL_FAILURE(pair.expect_equal(text));
    }
  }
}

TEST(FamilySplitter, SplitsAsWritten) {
  const FamilySplitter splitter = *FamilySplitter::for_pattern(kPatterns[0]);
  using Words = std::vector<std::string_view>;
  EXPECT_EQ(split(splitter, "It's 42  o'clock!!\n\n  now "),
            (Words{"It", "'s", " ", "4", "2", " ", " o", "'clock", "!!\n\n", " ", " now", " "}));
  EXPECT_EQ(split(splitter, "x\u0301y \t\n z"), (Words{"x\u0301y", " \t\n", " z"}));
  EXPECT_EQ(split(*FamilySplitter::for_pattern(kPatterns[1]), "x\u0301y"), (Words{"x", "\u0301y"}));
}

TEST(FamilySplitter, StandsForNoOtherPattern) {
  EXPECT_FALSE(FamilySplitter::for_pattern(""));
  EXPECT_FALSE(FamilySplitter::for_pattern(std::string(kPatterns[0]) + " "));
}

TEST(RegexSplitter, GapsAndEmptyMatchesMakePieces) {
  const RegexSplitter splitter(R"(\d|[a-c]*)");
  std::vector<std::string_view> pieces;
  splitter.split("xab1yyc", pieces);
  EXPECT_EQ(pieces, (std::vector<std::string_view>{"x", "ab", "1", "y", "y", "c"}));
}

}  // namespace
}  // namespace qround
