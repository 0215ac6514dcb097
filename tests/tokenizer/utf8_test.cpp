#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace qround {
namespace {

TEST(Utf8, EveryCharacterIsWrittenAndReadBack) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code == 0xD800) code = 0xE000;  // surrogates are no characters
    std::string text;
    append_utf8(code, text);
    const Utf8Char character = read_utf8(text.data());
    ASSERT_EQ(character.code, code);
    ASSERT_EQ(character.length, text.size());
    ASSERT_TRUE(is_utf8(text)) << code;
    ASSERT_EQ(first_utf8_unit(text).length, text.size());
  }
}

TEST(Utf8, EveryWayToBeInvalidIsSeen) {
  const std::string_view invalid[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5",
                                      "\xFF",
                                      "\xC3",
                                      "\xE2\x82",
                                      "\xC3(",
                                      "\xE2\x82(",
                                      "abcdefgh\x80"};
  for (const std::string_view bytes : invalid) EXPECT_FALSE(is_utf8(bytes)) << bytes;
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("plain text, é and 漢字 and 🙂"));
}

// What Rust's String::from_utf8_lossy, the reference, gives.
TEST(Utf8, OneReplacementStandsForTheLongestStartOfACharacter) {
  EXPECT_EQ(to_utf8_lossy("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(to_utf8_lossy("\xE2\x82z"), "\uFFFDz");
  EXPECT_EQ(to_utf8_lossy("\xE2\x82"), "\uFFFD");
  EXPECT_EQ(to_utf8_lossy("\xF0\x9F\x99"), "\uFFFD");
  EXPECT_EQ(to_utf8_lossy("\xF0\x80\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(to_utf8_lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(to_utf8_lossy("\xF0\x9F\xC3\xA9"), "\uFFFDé");
  EXPECT_EQ(to_utf8_lossy("\xC3\xC3\xA9"), "\uFFFDé");
  EXPECT_EQ(to_utf8_lossy("é🙂"), "é🙂");
}

}  // namespace
}  // namespace qround
