#include "tokenizer/streaming_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/tokenizer/tokenizer_fixtures.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

std::string stream(const std::vector<int32_t>& ids, bool skip_special) {
  StreamingDecoder decoder(pocket_tokenizer(), skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = decoder.push(id);
    EXPECT_TRUE(is_utf8(piece));
    text += piece;
  }
  return text + decoder.flush();
}

TEST(StreamingDecoder, GivesTheTextOfTheWhole) {
  for (const RecordedText& recorded :
       recorded_texts(Json::parse_file(tokenizer_data("texts.json")))) {
    EXPECT_EQ(stream(recorded.ids, false), recorded.decoded);
    EXPECT_EQ(stream(recorded.ids, true), recorded.decoded_skip_special);
  }
}

TEST(StreamingDecoder, GivesTheTextOfTheWholeForRandomIds) {
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids;
    for (size_t length = random() % 12; length > 0; --length) {
      // Mostly tokens of single bytes beyond ASCII, the ones that make broken characters.
      ids.push_back(static_cast<int32_t>(random() % 4 ? 94 + random() % 162 : random() % 1400));
    }
    EXPECT_EQ(stream(ids, false), pocket_tokenizer().decode(ids));
  }
}

TEST(StreamingDecoder, HoldsBackAnUnfinishedCharacter) {
  const std::vector<int32_t> ids = pocket_tokenizer().encode("🙂");
  ASSERT_EQ(ids.size(), 4u);
  StreamingDecoder decoder(pocket_tokenizer());
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "🙂");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(StreamingDecoder, FlushGivesUpOnAnUnfinishedCharacterAndStartsAnew) {
  const std::vector<int32_t> ids = pocket_tokenizer().encode("🙂");
  StreamingDecoder decoder(pocket_tokenizer());
  decoder.push(ids[0]);
  decoder.push(ids[1]);
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.push(pocket_tokenizer().encode("a")[0]), "a");
  EXPECT_EQ(decoder.flush(), "");
}

}  // namespace
}  // namespace qround
