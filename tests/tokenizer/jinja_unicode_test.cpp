#include "tokenizer/jinja_unicode.h"

#include <gtest/gtest.h>

namespace qround::jinja {
namespace {

TEST(JinjaUnicode, CountsAndFindsCharacters) {
  const std::string text = "añ日🙂";
  EXPECT_EQ(count_code_points(text), 4u);
  EXPECT_EQ(byte_offset(text, 0), 0u);
  EXPECT_EQ(byte_offset(text, 2), 3u);
  EXPECT_EQ(byte_offset(text, 3), 6u);
  EXPECT_EQ(byte_offset(text, 4), text.size());
  EXPECT_EQ(byte_offset(text, 9), text.size());
  size_t offset = 3;
  EXPECT_EQ(next_code_point(text, offset), U'日');
  EXPECT_EQ(offset, 6u);
  EXPECT_EQ(previous_code_point(text, 6), 3u);
}

TEST(JinjaUnicode, MapsOneCharacterToSeveralWherePythonDoes) {
  EXPECT_EQ(to_upper("straße ﬁx ŉ"), "STRASSE FIX ʼN");
  EXPECT_EQ(to_title("ǆ ﬁx they're"), "ǅ Fix They'Re");
  EXPECT_EQ(capitalize("ßX ǆ"), "Ssx ǆ");
  EXPECT_EQ(to_lower("İX"), "i̇x");
  EXPECT_EQ(swap_case("aBß"), "AbSS");
  EXPECT_EQ(to_case_folded("Straße"), "strasse");
}

TEST(JinjaUnicode, TheLastSigmaOfAWordIsAnotherOne) {
  EXPECT_EQ(to_lower("ΑΣ ΑΣΑ Σ ΑΣ."), "ας ασα σ ας.");
}

TEST(JinjaUnicode, KnowsTheSpacesOfPython) {
  for (char32_t c : std::u32string(
           U"\t\n\v\f\r\x1C\x1F \u0085\u00A0\u1680\u2000\u200A\u2028\u202F\u205F\u3000")) {
    EXPECT_TRUE(is_space(c)) << static_cast<uint32_t>(c);
  }
  for (char32_t c : std::u32string(U"a\x1B\u180E\u200B\u2060\uFEFF")) {
    EXPECT_FALSE(is_space(c)) << static_cast<uint32_t>(c);
  }
}

}  // namespace
}  // namespace qround::jinja
