#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qround {
namespace {

TEST(Json, KeepsTheOrderOfKeys) {
  const Json value = Json::parse(R"({"b": 1, "a": {"z": null, "y": [true, 2.5, "x"]}})");
  EXPECT_EQ(value.dump(), R"({"b": 1, "a": {"z": null, "y": [true, 2.5, "x"]}})");
}

TEST(Json, ComparesObjectsWithoutRegardToOrder) {
  EXPECT_EQ(Json::parse(R"({"a": 1, "b": [2]})"), Json::parse(R"({"b": [2], "a": 1})"));
  EXPECT_FALSE(Json::parse(R"({"a": 1})") == Json::parse(R"({"a": 1, "b": 2})"));
}

TEST(Json, IndentsAsPythonDoes) {
  const Json value = Json::parse(R"({"a": [1, 2], "b": {}, "c": []})");
  EXPECT_EQ(value.dump({.indent = 2}),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}");
}

TEST(Json, EscapesBeyondAsciiOnRequest) {
  const Json value = Json::parse("\"\xc3\xa9\xf0\x9f\x98\x80\\n\"");
  EXPECT_EQ(value.dump(), "\"\xc3\xa9\xf0\x9f\x98\x80\\n\"");
  EXPECT_EQ(value.dump({.ensure_ascii = true}), R"("\u00e9\ud83d\ude00\n")");
}

TEST(Json, SortsKeysOnRequest) {
  EXPECT_EQ(Json::parse(R"({"b": 1, "a": 2})").dump({.sort_keys = true}), R"({"a": 2, "b": 1})");
}

TEST(Json, FindsKeysOfLargeObjectsAfterChanges) {
  JsonObject object;
  for (int i = 0; i < 100; ++i) object.set("key" + std::to_string(i), i);
  object.set("key50", "changed");
  EXPECT_TRUE(object.erase("key10"));
  EXPECT_FALSE(object.erase("key10"));
  EXPECT_EQ(object.size(), 99u);
  EXPECT_EQ(*object.find("key50"), Json("changed"));
  EXPECT_EQ(*object.find("key99"), Json(99));
  EXPECT_EQ(object.find("key10"), nullptr);
}

TEST(Json, TellsIntegersFromFractions) {
  EXPECT_TRUE(Json::parse("3").is_int());
  EXPECT_TRUE(Json::parse("3.0").is_double());
  EXPECT_EQ(Json::parse("3.0").as_int(), 3);
  EXPECT_THROW(Json::parse("3.5").as_int(), Error);
  EXPECT_EQ(Json::parse("18446744073709551615").as_double(), 18446744073709551615.0);
}

TEST(Json, RefusesMalformedText) {
  for (const char* text : {"", "{", "[1,]", "{\"a\":}", "nul", "\"\x80\"", "1 2", "{'a': 1}"}) {
    EXPECT_THROW(Json::parse(text), Error) << text;
  }
}

TEST(Json, RefusesBottomlessNesting) { EXPECT_THROW(Json::parse(std::string(100000, '[')), Error); }

TEST(Json, NamesTheFileOfAnError) {
  try {
    Json::parse("{", "some/config.json");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), "some/config.json");
    EXPECT_NE(error.actual().find("line 1"), std::string::npos) << error.actual();
  }
}

TEST(Json, NamesAMissingKeyAndAWrongType) {
  const Json value = Json::parse(R"({"a": 1})");
  EXPECT_THROW(value.at("b"), Error);
  EXPECT_THROW(value.at("a").as_string(), Error);
  EXPECT_EQ(value.find("b"), nullptr);
  EXPECT_EQ(Json(1).find("a"), nullptr);
}

TEST(FormatDouble, WritesWhatPythonsReprWrites) {
  EXPECT_EQ(format_double(1.0), "1.0");
  EXPECT_EQ(format_double(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(format_double(1e16), "1e+16");
  EXPECT_EQ(format_double(1e15), "1000000000000000.0");
  EXPECT_EQ(format_double(0.0001), "0.0001");
  EXPECT_EQ(format_double(0.00001), "1e-05");
  EXPECT_EQ(format_double(-0.0), "-0.0");
}

}  // namespace
}  // namespace qround
