#include "server/json_grammar.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "server/grammar_matcher.h"
#include "server/schema_overlap.h"
#include "server/token_tries.h"

namespace qround::server {
namespace {

bool matches(const Grammar& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar);
  auto state = matcher.start();
  for (const char c : text) state = matcher.advance(state, static_cast<uint8_t>(c));
  return matcher.accepts(state);
}

Grammar schema(const char* text) { return json_schema_grammar(Json::parse(text)); }

void expect(const char* schema_text, const std::vector<const char*>& good,
            const std::vector<const char*>& bad) {
  const Grammar grammar = schema(schema_text);
  for (const char* text : good) EXPECT_TRUE(matches(grammar, text)) << schema_text << " " << text;
  for (const char* text : bad) EXPECT_FALSE(matches(grammar, text)) << schema_text << " " << text;
}

std::string refusal(const char* schema_text) {
  try {
    schema(schema_text);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.param(), "response_format");
    return error.message();
  }
  return "(accepted)";
}

TEST(JsonGrammar, AnyObject) {
  const Grammar grammar = json_object_grammar();
  for (const char* good :
       {"{}", R"({"a": [1, -2.5e3, "x\n\u00e9", true, null, {"b": []}]})", "{ }",
        "{\n  \"a\": 1,\n  \"b\": 2\n}", "{\"\xC3\xA9\xF0\x9F\x98\x80\": 0}", "\n\n{}"}) {
    EXPECT_TRUE(matches(grammar, good)) << good;
  }
  for (const char* bad :
       {"", "[]", "{", "{,}", "{\"a\" 1}", "{\"a\": 01}", "{\"a\": 1,}", "{\"a\": \"\x01\"}",
        "{\"a\": \"\xC3\"}", "{\"a\": \"\\ud800\"}", "{\"a\": nul}", "{}{}", "{\"a\": 1.}"}) {
    EXPECT_FALSE(matches(grammar, bad)) << bad;
  }
}

TEST(JsonGrammar, Types) {
  expect(R"({"type": "integer"})", {"0", "-12", "7"}, {"1.5", "01", "\"1\"", "-", ""});
  expect(R"({"type": "number"})", {"0", "-1.25", "3e10", "2E-3"}, {".5", "1.", "1e", "true"});
  expect(R"({"type": "boolean"})", {"true", "false"}, {"True", "0"});
  expect(R"({"type": ["string", "null"]})", {"\"\"", "null"}, {"1"});
  expect("true", {"1", "{}", "[]"}, {"x"});
  expect("{}", {"1", "{}", "\"a\""}, {"x"});
}

TEST(JsonGrammar, Strings) {
  expect(R"({"type": "string", "maxLength": 3})",
         {"\"\"", "\"abc\"", "\"\xC3\xA9\\n\xE2\x82\xAC\""}, {"\"abcd\"", "abc"});
  expect(R"({"type": "string", "minLength": 2})", {"\"ab\"", "\"abcdef\""}, {"\"\"", "\"a\""});
  expect(R"({"minLength": 2, "maxLength": 2})", {"\"ab\""}, {"\"a\"", "\"abc\""});
}

TEST(JsonGrammar, FixedValues) {
  expect(R"({"enum": ["a", 1, null, {"b": [true]}]})", {"\"a\"", "1", "null", "{\"b\": [true]}"},
         {"\"b\"", "2", "{}"});
  expect(R"({"const": "x\"y"})", {R"("x\"y")"}, {"\"x\""});
  expect(R"({"type": "string", "enum": ["a", 1]})", {"\"a\""}, {"1"});
}

TEST(JsonGrammar, Objects) {
  const char* person = R"({"type": "object", "properties": {"name": {"type": "string"},
      "age": {"type": "integer"}, "note": {"type": "string"}}, "required": ["name", "age"],
      "additionalProperties": false})";
  expect(person,
         {R"({"name": "A", "age": 3})", R"({"name":"A","age":3,"note":"x"})",
          "{\n  \"name\": \"A\",\n  \"age\": 3\n}"},
         {"{}", R"({"name": "A"})", R"({"age": 3, "name": "A"})", R"({"name": "A", "age": "3"})",
          R"({"name": "A", "age": 3, "other": 1})"});
  expect(R"({"type": "object", "properties": {"a": {}, "b": {}}})",
         {"{}", R"({"a": 1})", R"({"b": 2})", R"({"a": 1, "b": 2})"}, {R"({"a": 1,})", "{,}"});
  expect(R"({"type": "object", "additionalProperties": {"type": "integer"}})",
         {"{}", R"({"x": 1, "y": 2})"}, {R"({"x": "a"})"});
  expect(R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({"x": 1})"});
  expect(R"({"required": ["z"]})", {R"({"z": [1]})"}, {"{}"});
}

TEST(JsonGrammar, Arrays) {
  expect(R"({"type": "array", "items": {"type": "integer"}})", {"[]", "[1]", "[1, 2,3]"},
         {"[", "[1,]", "[\"a\"]"});
  expect(R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3})",
         {"[1, 2]", "[1, 2, 3]"}, {"[]", "[1]", "[1, 2, 3, 4]"});
  expect(R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": {"type": "string"}})",
         {"[]", "[1]", "[1, 2]", "[1, 2, \"x\", \"y\"]"}, {"[2]", "[1, 2, 3]"});
  expect(R"({"prefixItems": [{"const": 1}], "items": false, "minItems": 1})", {"[1]"},
         {"[]", "[1, 2]"});
  expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
}

TEST(JsonGrammar, CombinationsAndReferences) {
  expect(R"({"anyOf": [{"type": "integer"}, {"type": "null"}]})", {"1", "null"}, {"\"a\""});
  expect(R"({"allOf": [{"type": "integer"}]})", {"1"}, {"null"});
  expect(R"({"oneOf": [
      {"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]},
      {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]}]})",
         {R"({"k": "a"})", R"({"k": "b"})"}, {R"({"k": "c"})"});
  expect(R"({"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"},
      "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"]}},
      "$ref": "#/$defs/node"})",
         {R"({"v": 1, "next": null})", R"({"v": 1, "next": {"v": 2, "next": null}})"},
         {R"({"v": 1})", R"({"v": 1, "next": {}})"});
}

TEST(JsonGrammar, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_NE(refusal(R"({"type": "string", "pattern": "a"})").find("\"pattern\""),
            std::string::npos);
  EXPECT_NE(refusal(R"({"properties": {"a": {"minimum": 3}}})").find("#/properties/a"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})").find("oneOf"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"$ref": "http://example.org/x"})").find("$ref"), std::string::npos);
  EXPECT_NE(refusal(R"({"type": "strong"})").find("unknown type"), std::string::npos);
  EXPECT_NE(refusal(R"({"type": "string", "maxLength": 1000000000})").find("maxLength"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"type": "array", "maxItems": 20000, "items":
      {"type": "array", "maxItems": 20000, "items": {"type": "string", "maxLength": 20000}}})"),
            "(accepted)");
}

TEST(JsonGrammar, SchemasWithoutEndAreRefused) {
  EXPECT_NE(refusal(R"({"$ref": "#"})"), "(accepted)");
  EXPECT_NE(refusal(R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})").find("without end"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})")
                .find("no finite value"),
            std::string::npos);
  EXPECT_NE(refusal("false").find("no finite value"), std::string::npos);
  expect(R"({"type": "object", "properties": {"a": {"$ref": "#"}}})", {"{}", R"({"a": {"a": {}}})"},
         {R"({"a": 1})"});
}

TEST(GrammarMatcher, ALongListMeetsTheSameStatesAgain) {
  const Grammar grammar = schema(R"({"type": "array", "items": {"type": "string"}})");
  GrammarMatcher matcher(grammar);
  auto state = matcher.start();
  const auto feed = [&](std::string_view text) {
    for (const char c : text) state = matcher.advance(state, static_cast<uint8_t>(c));
  };
  feed("[\"abc\", \"def\"");
  feed(", \"abc\", \"def\"");
  const size_t states = matcher.states();
  for (int i = 0; i < 1000; ++i) feed(", \"abc\", \"def\"");
  EXPECT_EQ(matcher.states(), states);
  state = matcher.forget_all_but(state);
  feed(", \"x\"]");
  EXPECT_TRUE(matcher.accepts(state));
}

TEST(TokenTries, TheMaskIsWhatTheMatcherSaysOfEachToken) {
  const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket");
  const TokenTries tries(tokenizer);
  const Grammar grammar = schema(R"({"type": "object", "properties": {"text": {"type": "string"},
      "short": {"type": "string", "maxLength": 4}, "n": {"type": "number"}},
      "required": ["text", "short", "n"]})");
  GrammarMatcher matcher(grammar);
  auto state = matcher.start();
  const std::string text = "{\"text\": \"a b\xC3\xA9\\n\", \"short\": \"ab\", \"n\": -1.5}";
  for (size_t i = 0; i <= text.size(); ++i) {
    const TokenMask mask = tries.allowed(matcher, state);
    for (int32_t id = 0; id < static_cast<int32_t>(tokenizer.vocab_size()); ++id) {
      const std::string_view bytes = tokenizer.id_to_token(id);
      auto next = state;
      for (const char c : bytes) next = matcher.advance(next, static_cast<uint8_t>(c));
      const bool fits =
          next != GrammarMatcher::kDead && !bytes.empty() && !tokenizer.is_special(id);
      ASSERT_EQ(mask.test(id), fits) << "after " << text.substr(0, i) << ", token " << id;
    }
    if (i < text.size()) state = matcher.advance(state, static_cast<uint8_t>(text[i]));
  }
  EXPECT_TRUE(matcher.accepts(state));
}

}  // namespace
}  // namespace qround::server
