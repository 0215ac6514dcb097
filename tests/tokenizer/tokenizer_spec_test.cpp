// Damaged and foreign tokenizer.json files: each is refused with the file, the place and the
// reason.
#include "tokenizer/tokenizer_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tokenizer/tokenizer_fixtures.h"

namespace qround {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Path = std::vector<std::string>;

std::string refusal(const Json& tokenizer) {
  return error_text([&] { Tokenizer::from_json(tokenizer, "dir/tokenizer.json"); });
}

// The refusal of the small tokenizer with the JSON `text` in place of what stands at `path`.
std::string refusal_with(const Path& path, std::string_view text) {
  Json tokenizer = small_tokenizer_json();
  member_at(tokenizer, path) = Json::parse(text);
  return refusal(tokenizer);
}

TEST(TokenizerSpec, ReadsTheSmallTokenizer) {
  const TokenizerSpec spec = read_tokenizer_spec(small_tokenizer_json(), "tokenizer.json");
  EXPECT_TRUE(spec.nfc);
  EXPECT_FALSE(spec.ignore_merges);
  EXPECT_EQ(spec.split_patterns, std::vector<std::string>{" ?\\w+|\\s"});
  EXPECT_EQ(spec.vocabulary.size(), 12u);
  ASSERT_EQ(spec.merges.size(), 5u);
  EXPECT_EQ(spec.merges[3].left, 5);
  EXPECT_EQ(spec.merges[3].right, 6);
  EXPECT_EQ(spec.merges[3].result, 7);
  ASSERT_EQ(spec.added_tokens.size(), 1u);
  EXPECT_TRUE(spec.added_tokens[0].special);
}

TEST(TokenizerSpec, OtherKindsAreRefusedByName) {
  const auto refused = [](const char* place, const char* kind) {
    return AllOf(HasSubstr("dir/tokenizer.json"), HasSubstr("not supported"), HasSubstr(place),
                 HasSubstr(std::string("actual: ") + kind));
  };
  for (const char* kind : {"Unigram", "WordPiece", "WordLevel"}) {
    EXPECT_THAT(refusal_with({"model", "type"}, '"' + std::string(kind) + '"'),
                refused("model.type", kind));
  }
  EXPECT_THAT(refusal_with({"model", "byte_fallback"}, "true"), HasSubstr("byte_fallback"));
  EXPECT_THAT(refusal_with({"model", "dropout"}, "0.1"), refused("model.dropout", "dropout"));
  EXPECT_THAT(refusal_with({"model", "end_of_word_suffix"}, "\"</w>\""),
              refused("model.end_of_word_suffix", "</w>"));
  EXPECT_THAT(refusal_with({"model", "continuing_subword_prefix"}, "\"##\""),
              refused("model.continuing_subword_prefix", "##"));
  EXPECT_THAT(refusal_with({"model", "unk_token"}, "\"a\""), refused("model.unk_token", "a"));
  EXPECT_THAT(refusal_with({"normalizer"}, R"({"type": "Lowercase"})"),
              refused("normalizer.type", "Lowercase"));
  EXPECT_THAT(
      refusal_with({"normalizer"},
                   R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]})"),
      refused("normalizer.normalizers[1].type", "NFKC"));
  EXPECT_THAT(refusal_with({"pre_tokenizer"}, R"({"type": "Metaspace"})"),
              refused("pre_tokenizer.type", "Metaspace"));
  EXPECT_THAT(refusal_with({"pre_tokenizer"}, "null"), refused("pre_tokenizer", "null"));
  EXPECT_THAT(refusal_with({"pre_tokenizer", "pretokenizers", "0", "behavior"}, "\"Removed\""),
              refused("behavior", "Removed"));
  EXPECT_THAT(refusal_with({"pre_tokenizer", "pretokenizers", "0", "invert"}, "true"),
              HasSubstr("invert"));
  EXPECT_THAT(
      refusal_with({"pre_tokenizer", "pretokenizers", "0", "pattern"}, R"({"String": " "})"),
      HasSubstr("Regex"));
  EXPECT_THAT(refusal_with({"pre_tokenizer", "pretokenizers", "1", "add_prefix_space"}, "true"),
              HasSubstr("add_prefix_space"));
  EXPECT_THAT(refusal_with({"pre_tokenizer", "pretokenizers"}, "[]"),
              HasSubstr("ByteLevel as the last step"));
  EXPECT_THAT(refusal_with({"decoder"}, R"({"type": "WordPiece"})"),
              refused("decoder.type", "WordPiece"));
  EXPECT_THAT(refusal_with({"post_processor"}, R"({"type": "TemplateProcessing"})"),
              refused("post_processor.type", "TemplateProcessing"));
  EXPECT_THAT(refusal_with({"added_tokens", "0", "single_word"}, "true"), HasSubstr("single_word"));
  EXPECT_THAT(refusal_with({"version"}, "\"2.0\""), refused("version", "2.0"));
}

TEST(TokenizerSpec, EveryMissingPartIsNamed) {
  for (const char* key : {"model", "pre_tokenizer", "decoder"}) {
    Json tokenizer = small_tokenizer_json();
    tokenizer.as_object().erase(key);
    EXPECT_THAT(refusal(tokenizer),
                AllOf(HasSubstr("dir/tokenizer.json"), HasSubstr(std::string("has no \"") + key)));
  }
  for (const char* key : {"vocab", "merges"}) {
    Json tokenizer = small_tokenizer_json();
    member_at(tokenizer, {"model"}).as_object().erase(key);
    EXPECT_THAT(refusal(tokenizer), HasSubstr(std::string("model has no \"") + key));
  }
}

TEST(TokenizerSpec, EveryWrongTypeIsNamed) {
  EXPECT_THAT(refusal(Json::parse("[]")),
              AllOf(HasSubstr("expected: an object"), HasSubstr("actual: array")));
  const Path paths[] = {{"version"},
                        {"added_tokens"},
                        {"normalizer"},
                        {"pre_tokenizer"},
                        {"decoder"},
                        {"model"},
                        {"model", "vocab"},
                        {"model", "merges"},
                        {"model", "vocab", "a"},
                        {"model", "ignore_merges"},
                        {"normalizer", "type"},
                        {"pre_tokenizer", "pretokenizers"},
                        {"pre_tokenizer", "pretokenizers", "0", "pattern"},
                        {"pre_tokenizer", "pretokenizers", "0", "pattern", "Regex"},
                        {"added_tokens", "0"},
                        {"added_tokens", "0", "id"},
                        {"added_tokens", "0", "content"},
                        {"added_tokens", "0", "special"}};
  for (const Path& path : paths) {
    EXPECT_THAT(refusal_with(path, "1.5"), AllOf(HasSubstr("dir/tokenizer.json"),
                                                 HasSubstr("expected: "), HasSubstr("number")))
        << path.back();
  }
}

TEST(TokenizerSpec, IdsMustBeUniqueAndInRange) {
  EXPECT_THAT(refusal_with({"model", "vocab", "b"}, "0"),
              AllOf(HasSubstr("same id"), HasSubstr("\"a\" and \"b\"")));
  EXPECT_THAT(refusal_with({"model", "vocab", "b"}, "-1"),
              AllOf(HasSubstr("out of range"), HasSubstr("-1")));
  EXPECT_THAT(refusal_with({"model", "vocab", "b"}, "99999999999"), HasSubstr("out of range"));
  EXPECT_THAT(refusal_with({"added_tokens", "0", "id"}, "9223372036854775807"),
              HasSubstr("out of range"));
  EXPECT_THAT(refusal_with({"added_tokens", "0", "id"}, "3"),
              AllOf(HasSubstr("same id"), HasSubstr("<end>")));
  EXPECT_THAT(refusal_with({"added_tokens", "0", "content"}, "\"ab\""),
              AllOf(HasSubstr("two ids"), HasSubstr("5 and 12")));
  EXPECT_THAT(refusal_with({"added_tokens", "0", "content"}, "\"\""), HasSubstr("empty"));
}

TEST(TokenizerSpec, MergesMustNameTokens) {
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, R"(["a", "x"])"),
              AllOf(HasSubstr("model.merges[1]"), HasSubstr("actual: x")));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, R"(["a", "d"])"), HasSubstr("actual: ad"));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, "\"a d\""), HasSubstr("actual: ad"));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, "1.5"),
              AllOf(HasSubstr("model.merges[1]"), HasSubstr("malformed"), HasSubstr("1.5")));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, "\"ab\""),
              AllOf(HasSubstr("model.merges[1]"), HasSubstr("malformed")));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, "\"a b c\""),
              AllOf(HasSubstr("model.merges[1]"), HasSubstr("malformed")));
  EXPECT_THAT(refusal_with({"model", "merges", "1"}, R"(["a", "b", "c"])"),
              AllOf(HasSubstr("model.merges[1]"), HasSubstr("malformed")));
}

TEST(TokenizerSpec, AMalformedPatternIsNamed) {
  EXPECT_THAT(
      refusal_with({"pre_tokenizer", "pretokenizers", "0", "pattern", "Regex"}, "\"(a\""),
      AllOf(HasSubstr("dir/tokenizer.json"), HasSubstr("regular expression"), HasSubstr("(a")));
}

TEST(TokenizerSpec, TheConfigAddsTokensAndMayNotContradict) {
  const auto with_config = [](std::string_view entries) {
    TokenizerSpec spec = read_tokenizer_spec(small_tokenizer_json(), "tokenizer.json");
    const Json config = Json::parse("{\"added_tokens_decoder\": {" + std::string(entries) + "}}");
    add_tokens_of_config(config, "tokenizer_config.json", spec);
    return spec;
  };
  const TokenizerSpec spec = with_config(
      R"("12": {"content": "<end>", "special": false}, "20": {"content": "<audio>", "normalized": false, "special": true})");
  ASSERT_EQ(spec.added_tokens.size(), 2u);
  EXPECT_TRUE(spec.added_tokens[0].special);  // as tokenizer.json says
  EXPECT_EQ(spec.added_tokens[1].id, 20);
  EXPECT_TRUE(spec.added_tokens[1].special);

  const auto refusal_of = [&](std::string_view entries) {
    return error_text([&] { with_config(entries); });
  };
  EXPECT_THAT(refusal_of(R"("13": {"content": "<end>"})"),
              AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("12 and 13")));
  EXPECT_THAT(refusal_of(R"("12": {"content": "<other>"})"), HasSubstr("same id"));
  EXPECT_THAT(refusal_of(R"("x": {"content": "<other>"})"), HasSubstr("no token id"));
  EXPECT_THAT(refusal_of(R"("": {"content": "<other>"})"), HasSubstr("no token id"));
  EXPECT_THAT(refusal_of(R"("999999999": {"content": "<other>"})"), HasSubstr("out of range"));
  EXPECT_THAT(refusal_of(R"("20": {})"), HasSubstr("\"content\""));
}

}  // namespace
}  // namespace qround
