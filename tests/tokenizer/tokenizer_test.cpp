#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <random>
#include <thread>

#include "base/file.h"
#include "tests/tokenizer/tokenizer_fixtures.h"

namespace qround {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void expect_recorded(const Tokenizer& tokenizer, const std::vector<RecordedText>& texts) {
  for (const RecordedText& recorded : texts) {
    EXPECT_EQ(tokenizer.encode(recorded.text), recorded.ids)
        << testing::PrintToString(recorded.text);
    EXPECT_EQ(tokenizer.decode(recorded.ids), recorded.decoded);
    EXPECT_EQ(tokenizer.decode(recorded.ids, true), recorded.decoded_skip_special);
  }
}

// models/pocket/tokenizer.json with the changes of a variant of variants.json.
Tokenizer variant_of_pocket(const Json& changes) {
  Json json = Json::parse_file(pocket_directory() / "tokenizer.json");
  for (const auto& [key, value] : changes.as_object()) {
    if (key == "ignore_merges") {
      member_at(json, {"model", "ignore_merges"}) = value;
    } else if (key == "merges_as_strings") {
      if (!value.as_bool()) continue;
      for (Json& merge : member_at(json, {"model", "merges"}).as_array()) {
        merge = merge.as_array()[0].as_string() + " " + merge.as_array()[1].as_string();
      }
    } else {
      json.set(key, value);
    }
  }
  return Tokenizer::from_json(json);
}

TEST(Tokenizer, GivesTheReferencesIdsAndTexts) {
  const auto texts = recorded_texts(Json::parse_file(tokenizer_data("texts.json")));
  ASSERT_EQ(texts.size(), 254u);
  expect_recorded(pocket_tokenizer(), texts);
}

TEST(Tokenizer, GivesTheReferencesIdsAndTextsForVariants) {
  const Json recorded = Json::parse_file(tokenizer_data("variants.json"));
  ASSERT_EQ(recorded.at("variants").as_array().size(), 7u);
  for (const Json& variant : recorded.at("variants").as_array()) {
    SCOPED_TRACE(variant.at("name").as_string());
    expect_recorded(variant_of_pocket(variant.at("changes")), recorded_texts(variant.at("texts")));
  }
}

// auto-round writes the absent affixes as empty strings.
TEST(Tokenizer, EmptyAffixesAreNone) {
  Json json = Json::parse_file(pocket_directory() / "tokenizer.json");
  member_at(json, {"model", "continuing_subword_prefix"}) = "";
  member_at(json, {"model", "end_of_word_suffix"}) = "";
  EXPECT_EQ(Tokenizer::from_json(json).encode("Hello"), pocket_tokenizer().encode("Hello"));
}

TEST(Tokenizer, MergesByRankNotByLength) {
  const Tokenizer tokenizer = Tokenizer::from_json(small_tokenizer_json());
  EXPECT_THAT(tokenizer.encode("abcd ab"), ElementsAre(0, 8, 3, 4, 5));
  EXPECT_THAT(tokenizer.encode(" a<end>é"), ElementsAre(9, 12, 10, 11));
  EXPECT_THAT(tokenizer.encode("a?b"), ElementsAre(0, 1));  // "?" has no token: dropped
}

TEST(Tokenizer, TakesAWholeWordForATokenOnlyWhenToldTo) {
  Json json = small_tokenizer_json();
  member_at(json, {"model", "ignore_merges"}) = true;
  EXPECT_THAT(Tokenizer::from_json(json).encode("abcd ab"), ElementsAre(7, 4, 5));
}

TEST(Tokenizer, KeepsAddedTokensWholeUnlessToldNotTo) {
  const Tokenizer& tokenizer = pocket_tokenizer();
  const int32_t end = *tokenizer.token_to_id("<|im_end|>"),
                think = *tokenizer.token_to_id("<think>");
  EXPECT_THAT(tokenizer.encode("<|im_end|><think>"), ElementsAre(end, think));
  const std::vector<int32_t> as_text =
      tokenizer.encode("<|im_end|><think>", ParseTokens::non_special);
  EXPECT_EQ(as_text.back(), think);
  EXPECT_EQ(std::ranges::count(as_text, end), 0);
  const std::vector<int32_t> all_text = tokenizer.encode("<|im_end|><think>", ParseTokens::none);
  EXPECT_EQ(std::ranges::count(all_text, think), 0);
  EXPECT_EQ(tokenizer.decode(all_text), "<|im_end|><think>");
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer& tokenizer = pocket_tokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 1331u);
  EXPECT_EQ(tokenizer.added_tokens().size(), 26u);
  EXPECT_EQ(tokenizer.token_to_id("<|endoftext|>"), 1305);
  EXPECT_EQ(tokenizer.id_to_token(1305), "<|endoftext|>");
  EXPECT_EQ(tokenizer.id_to_token(*tokenizer.token_to_id(" the")), " the");
  EXPECT_FALSE(tokenizer.token_to_id("no such token"));
  EXPECT_TRUE(tokenizer.is_special(1306));
  EXPECT_FALSE(tokenizer.is_special(1329));  // <think>
  for (const int32_t id : {-1, 1331, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer.id_to_token(id), "");
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(tokenizer.decode(std::vector{id}, true), "");
  }
}

TEST(Tokenizer, ReadsFurtherTokensFromTheConfig) {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("qround_tokenizer_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  write_file_atomically(directory / "tokenizer.json", small_tokenizer_json().dump());
  write_file_atomically(directory / "tokenizer_config.json",
                        R"({"added_tokens_decoder": {"12": {"content": "<end>", "special": true},
                            "15": {"content": "<audio>", "normalized": false, "special": true}}})");
  const Tokenizer tokenizer = Tokenizer::load(directory);
  EXPECT_THAT(tokenizer.encode("a<audio>"), ElementsAre(0, 15));
  EXPECT_EQ(tokenizer.vocab_size(), 16u);
  EXPECT_EQ(tokenizer.id_to_token(14), "");
  write_file_atomically(directory / "tokenizer.json", "{\"model\": ");
  EXPECT_THAT(error_text([&] { Tokenizer::load(directory); }), HasSubstr("tokenizer.json"));
  std::filesystem::remove_all(directory);
  EXPECT_THAT(error_text([&] { Tokenizer::load(directory); }), HasSubstr("has no tokenizer.json"));
}

TEST(Tokenizer, BytesThatAreNoTextBecomeReplacementCharacters) {
  const Tokenizer& tokenizer = pocket_tokenizer();
  EXPECT_EQ(tokenizer.encode("a\xFFz\xE2\x82"), tokenizer.encode("a\uFFFDz\uFFFD"));
  const std::vector<int32_t> snowman = tokenizer.encode("☃");
  ASSERT_GT(snowman.size(), 1u);
  EXPECT_EQ(tokenizer.decode(std::span(snowman).first(1)), "\uFFFD");
  EXPECT_EQ(tokenizer.decode(std::span(snowman).last(1)), "\uFFFD");
}

// Processor seconds for one word of a megabyte; a quadratic algorithm takes minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMostSeconds = 30;
#else
constexpr double kMostSeconds = 2;
#endif

TEST(Tokenizer, AMegabyteWithoutASpaceIsQuick) {
  std::mt19937 random(2);
  std::string letters(1'000'000, 'a');
  for (char& c : letters) c = "etaoinshrdlu"[random() % 12];
  for (const std::string& word :
       {std::string(1'000'000, 'a'), letters, std::string(1'000'000, '-')}) {
    const std::clock_t start = std::clock();
    const std::vector<int32_t> ids = pocket_tokenizer().encode(word);
    EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, kMostSeconds);
    EXPECT_EQ(pocket_tokenizer().decode(ids), word);
  }
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const Tokenizer tokenizer = Tokenizer::load(pocket_directory());
  const auto texts = recorded_texts(Json::parse_file(tokenizer_data("texts.json")));
  std::vector<int> n_wrong(4);
  std::vector<std::thread> threads;
  for (int& wrong : n_wrong) {
    threads.emplace_back([&] {
      for (const RecordedText& recorded : texts) {
        wrong += tokenizer.encode(recorded.text) != recorded.ids ||
                 tokenizer.decode(recorded.ids) != recorded.decoded;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(n_wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Tokenizer, RememberedWordsGiveTheSameIds) {
  const Tokenizer tokenizer = Tokenizer::load(pocket_directory());
  const auto texts = recorded_texts(Json::parse_file(tokenizer_data("texts.json")));
  for (int round = 0; round < 2; ++round) {
    for (const RecordedText& recorded : texts)
      EXPECT_EQ(tokenizer.encode(recorded.text), recorded.ids);
  }
}

}  // namespace
}  // namespace qround
