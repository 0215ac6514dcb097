#include "server/argument_value.h"

#include <gtest/gtest.h>

#include <string>

namespace qround::server {
namespace {

std::string value(std::string_view text, const char* schema, const char* root = "{}") {
  const Json parsed = Json::parse(schema);
  return argument_value(text, &parsed, Json::parse(root)).dump();
}

TEST(ArgumentValue, AStringKeepsItsText) {
  EXPECT_EQ(value("12", R"({"type": "string"})"), R"("12")");
  EXPECT_EQ(value(" true ", R"({"type": "string"})"), R"(" true ")");
}

TEST(ArgumentValue, OtherTypesAreRead) {
  EXPECT_EQ(value("12", R"({"type": "integer"})"), "12");
  EXPECT_EQ(value(" 1.5\n", R"({"type": "number"})"), "1.5");
  EXPECT_EQ(value("12", R"({"type": "number"})"), "12");
  EXPECT_EQ(value("False", R"({"type": "boolean"})"), "false");
  EXPECT_EQ(value("[1, 2]", R"({"type": "array"})"), "[1, 2]");
  EXPECT_EQ(value(R"({"a": {"b": null}})", R"({"properties": {}})"), R"({"a": {"b": null}})");
}

TEST(ArgumentValue, WhatDoesNotFitStaysText) {
  EXPECT_EQ(value("twelve", R"({"type": "integer"})"), R"("twelve")");
  EXPECT_EQ(value("1.5", R"({"type": "integer"})"), R"("1.5")");
  EXPECT_EQ(value("[1, 2", R"({"type": "array"})"), R"("[1, 2")");
}

TEST(ArgumentValue, SeveralTypesTryTheStringLast) {
  EXPECT_EQ(value("null", R"({"anyOf": [{"type": "string"}, {"type": "null"}]})"), "null");
  EXPECT_EQ(value("5", R"({"type": ["integer", "string"]})"), "5");
  EXPECT_EQ(value("five", R"({"type": ["integer", "string"]})"), R"("five")");
  EXPECT_EQ(value("2", R"({"enum": [1, 2]})"), "2");
}

TEST(ArgumentValue, ReferencesAreFollowedAndCirclesEnd) {
  EXPECT_EQ(value("7", R"({"$ref": "#/$defs/n"})", R"({"$defs": {"n": {"type": "integer"}}})"),
            "7");
  EXPECT_EQ(value("7", R"({"$ref": "#/$defs/n"})", R"({"$defs": {"n": {"$ref": "#/$defs/n"}}})"),
            "7");
}

TEST(ArgumentValue, WithoutASchemaJsonIsJson) {
  EXPECT_EQ(argument_value("3", nullptr, Json::object()).dump(), "3");
  EXPECT_EQ(argument_value("three", nullptr, Json::object()).dump(), R"("three")");
}

}  // namespace
}  // namespace qround::server
