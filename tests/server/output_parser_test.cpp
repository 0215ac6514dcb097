#include "server/output_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace qround::server {
namespace {

std::vector<Tool> weather_tools() {
  const Json schema = Json::parse(R"({"type": "object", "properties": {
      "city": {"type": "string"}, "days": {"type": "integer"}}})");
  return {{.name = "get_weather", .parameters = schema, .definition = {}},
          {.name = "now", .parameters = Json::object(), .definition = {}}};
}

// What a client would have after all parts: texts joined, calls in order.
struct Output {
  std::string reasoning, content;
  std::vector<std::string> calls;

  friend bool operator==(const Output&, const Output&) = default;
};

std::ostream& operator<<(std::ostream& out, const Output& o) {
  out << "reasoning[" << o.reasoning << "] content[" << o.content << "]";
  for (const std::string& call : o.calls) out << " call[" << call << "]";
  return out;
}

Output parse(const std::vector<std::string>& pieces, OutputParser::Options options) {
  OutputParser parser(options);
  std::vector<OutputPart> parts;
  for (const std::string& piece : pieces) parser.push(piece, parts);
  parser.finish(parts);
  Output output;
  for (const OutputPart& part : parts) {
    switch (part.kind) {
      case OutputPart::Kind::reasoning:
        output.reasoning += part.text;
        break;
      case OutputPart::Kind::content:
        output.content += part.text;
        break;
      case OutputPart::Kind::tool_call:
        output.calls.push_back(part.call.name + part.call.arguments.dump());
    }
  }
  return output;
}

std::vector<std::string> bytes_of(const std::string& text) {
  std::vector<std::string> pieces;
  for (const char c : text) pieces.emplace_back(1, c);
  return pieces;
}

// Whole, byte by byte, cut in two anywhere, cut in three anywhere (short texts), cut at random.
void expect_for_every_split(const std::string& text, const OutputParser::Options& options,
                            const Output& expected) {
  EXPECT_EQ(parse({text}, options), expected) << text;
  EXPECT_EQ(parse(bytes_of(text), options), expected) << text;
  for (size_t i = 0; i <= text.size(); ++i) {
    ASSERT_EQ(parse({text.substr(0, i), text.substr(i)}, options), expected) << text << " at " << i;
    if (text.size() > 60) continue;
    for (size_t j = i; j <= text.size(); ++j) {
      ASSERT_EQ(parse({text.substr(0, i), text.substr(i, j - i), text.substr(j)}, options),
                expected)
          << text << " at " << i << " and " << j;
    }
  }
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 12;
      pieces.push_back(text.substr(at, length));
      at += length;
    }
    ASSERT_EQ(parse(pieces, options), expected) << text << " round " << round;
  }
}

const std::string kRome =
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n"
    "</tool_call>";

class OutputParserTest : public testing::Test {
 protected:
  const std::shared_ptr<const std::vector<Tool>> tools_ =
      std::make_shared<const std::vector<Tool>>(weather_tools());
  const OutputParser::Options plain_ = {};
  const OutputParser::Options thinking_ = {
      .in_reasoning = true, .tools = nullptr, .begun_call = {}};
  const OutputParser::Options with_tools_ = {
      .in_reasoning = false, .tools = tools_, .begun_call = {}};
};

TEST_F(OutputParserTest, PlainTextIsContentWithItsBlanks) {
  expect_for_every_split("Hello,\n\n  world.\n", plain_, {.content = "Hello,\n\n  world.\n"});
  expect_for_every_split("", plain_, {});
  expect_for_every_split("a <think b </think> <tool_call>", plain_,
                         {.content = "a <think b </think> <tool_call>"});
}

TEST_F(OutputParserTest, ReasoningEndsAtItsTagAndLosesTheBlanksAroundIt) {
  expect_for_every_split("I think.\n\nMore.\n</think>\n\nYes.", thinking_,
                         {.reasoning = "I think.\n\nMore.", .content = "Yes."});
  expect_for_every_split("\n</think>\n\nYes. ", thinking_, {.content = "Yes. "});
  expect_for_every_split("never ends </thin", thinking_, {.reasoning = "never ends </thin"});
}

TEST_F(OutputParserTest, ReasoningMayBeOpenedByTheModel) {
  expect_for_every_split("\n<think>\nHm.\n</think>\nYes.", plain_,
                         {.reasoning = "Hm.", .content = "Yes."});
  expect_for_every_split("<thin", plain_, {.content = "<thin"});
}

TEST_F(OutputParserTest, ACallIsParsedAndTheBlanksBeforeItAreDropped) {
  expect_for_every_split(kRome, with_tools_, {.calls = {R"(get_weather{"city": "Rome"})"}});
  expect_for_every_split("One moment.\n\n" + kRome + "\n", with_tools_,
                         {.content = "One moment.", .calls = {R"(get_weather{"city": "Rome"})"}});
}

TEST_F(OutputParserTest, SeveralCallsAndTextBetweenThem) {
  const std::string now = "<tool_call><function=now></function></tool_call>";
  expect_for_every_split(
      kRome + "\n" + now + "\n" + kRome, with_tools_,
      {.calls = {R"(get_weather{"city": "Rome"})", "now{}", R"(get_weather{"city": "Rome"})"}});
  expect_for_every_split(now + "\nand\n" + now, with_tools_,
                         {.content = "and", .calls = {"now{}", "now{}"}});
}

TEST_F(OutputParserTest, AValueMayHoldTagsOfOtherKinds) {
  expect_for_every_split(
      "<tool_call>\n<function=get_weather>\n<parameter=city>\n</tool_call>\n"
      "<parameter=x></function>\n\n</parameter>\n</function>\n</tool_call>",
      with_tools_,
      {.calls = {R"(get_weather{"city": "</tool_call>\n<parameter=x></function>\n"})"}});
}

TEST_F(OutputParserTest, ArgumentsHaveTheTypesOfTheSchema) {
  expect_for_every_split(
      "<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n"
      "3\n</parameter>\n</function>\n</tool_call>",
      with_tools_, {.calls = {R"(get_weather{"city": "12", "days": 3})"}});
}

TEST_F(OutputParserTest, WhatIsNoCallComesBackAsContent) {
  for (const std::string& text : {
           std::string("<tool_call>\n<function=unknown>\n</function>\n</tool_call>"),
           std::string("<tool_call>\n{\"name\": \"now\"}\n</tool_call>"),
           std::string("<tool_call>\n<function=now>\nstray\n</function>\n</tool_call>"),
           std::string("<tool_call>\n<function=get_weather>\n<parameter=city>\nRome"),
           std::string("a <tool_call> tag and </tool_call>\n"),
           std::string("<tool_ca"),
           std::string("<tool_call>\n<function=now>\n<parameter=a>1</parameter>"
                       "<parameter=a>2</parameter></function></tool_call>"),
       }) {
    expect_for_every_split(text, with_tools_, {.content = text});
  }
}

TEST_F(OutputParserTest, ACallAfterABrokenOneIsFound) {
  expect_for_every_split("<tool_call>\n<function=unknown>\n</function>\n</tool_call>\n" + kRome,
                         with_tools_,
                         {.content = "<tool_call>\n<function=unknown>\n</function>\n</tool_call>",
                          .calls = {R"(get_weather{"city": "Rome"})"}});
}

TEST_F(OutputParserTest, TheClosingTagOfACallMayBeMissing) {
  expect_for_every_split("<tool_call><function=now></function>", with_tools_, {.calls = {"now{}"}});
  expect_for_every_split(
      "<tool_call><function=now></function>\n<tool_call><function=now></function>junk", with_tools_,
      {.content = "junk", .calls = {"now{}", "now{}"}});
}

TEST_F(OutputParserTest, ACallBegunInThePromptIsContinued) {
  const OutputParser::Options forced = {
      .in_reasoning = false, .tools = tools_, .begun_call = "<tool_call>\n<function="};
  expect_for_every_split(
      "get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>", forced,
      {.calls = {R"(get_weather{"city": "Oslo"})"}});
}

TEST_F(OutputParserTest, ReasoningThenCalls) {
  const OutputParser::Options both = {.in_reasoning = true, .tools = tools_, .begun_call = {}};
  expect_for_every_split(
      "I call " + kRome + " now.\n</think>\n\n" + kRome, both,
      {.reasoning = "I call " + kRome + " now.", .calls = {R"(get_weather{"city": "Rome"})"}});
}

TEST_F(OutputParserTest, ContentIsToldAsSoonAsItIsCertain) {
  OutputParser parser(with_tools_);
  std::vector<OutputPart> parts;
  parser.push("Hello wor", parts);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].text, "Hello wor");
  parser.push("ld <", parts);
  EXPECT_EQ(parts.back().text, "ld");
  parser.push("b>", parts);
  EXPECT_EQ(parts.back().text, " <b>");
}

}  // namespace
}  // namespace qround::server
