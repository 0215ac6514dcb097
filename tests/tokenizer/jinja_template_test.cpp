// Templates against what jinja2 made of them (oracle/make_text_goldens.py,
// oracle/compare_templates.py).
#include "tokenizer/jinja_template.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace qround {
namespace {

using testing::HasSubstr;

Json template_data(const char* name) {
  return Json::parse_file(std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/templates" / name);
}

// 5 December 2025, 07:08:09, a Friday: the time the recorded texts were made with.
std::tm recorded_time() {
  std::tm time{};
  time.tm_year = 125;
  time.tm_mon = 11;
  time.tm_mday = 5;
  time.tm_hour = 7;
  time.tm_min = 8;
  time.tm_sec = 9;
  time.tm_wday = 5;
  time.tm_yday = 338;
  return time;
}

std::string render(std::string_view source, const Json& variables = Json::object()) {
  return JinjaTemplate::parse(source, "t.jinja").render(variables);
}

std::optional<Error> failure(std::string_view source, const Json& variables = Json::object()) {
  try {
    render(source, variables);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

std::string failure_message(std::string_view source, const Json& variables = Json::object()) {
  const auto error = failure(source, variables);
  return error ? error->message() : "no error";
}

// One recorded row: `text`, or `error`, which the engine's message must contain, or `python_error`,
// where the engine must fail in words of its own choice.
void expect_as_recorded(const Json& row, const Json& input, const JinjaOptions& options) {
  SCOPED_TRACE(row.at("template").as_string());
  try {
    const std::string text =
        JinjaTemplate::parse(row.at("template").as_string()).render(input, options);
    ASSERT_NE(row.find("text"), nullptr) << "must fail, but gave: " << text;
    EXPECT_EQ(text, row.at("text").as_string());
  } catch (const Error& error) {
    ASSERT_EQ(row.find("text"), nullptr) << error.what();
    EXPECT_THAT(error.file(), HasSubstr("template:"));
    if (const Json* message = row.find("error")) {
      EXPECT_THAT(error.message(), HasSubstr(message->as_string()));
    }
  }
}

TEST(JinjaTemplate, RendersEveryFeatureAsRecorded) {
  const Json rows = template_data("jinja_features.json");
  EXPECT_EQ(rows.as_array().size(), 26u);
  for (const Json& row : rows.as_array()) expect_as_recorded(row, row.at("input"), {});
}

TEST(JinjaTemplate, RendersTheWholeLanguageAsRecorded) {
  const Json recorded = template_data("jinja_more.json");
  EXPECT_GE(recorded.at("rows").as_array().size(), 400u);
  JinjaOptions options;
  options.clock = recorded_time;
  for (const Json& row : recorded.at("rows").as_array()) {
    expect_as_recorded(row, recorded.at("input"), options);
  }
}

TEST(JinjaTemplate, TypeErrorsHaveTheWordsOfPythonWithFewExceptions) {
  const Json recorded = template_data("jinja_more.json");
  int n_errors = 0;
  int n_same = 0;
  for (const Json& row : recorded.at("rows").as_array()) {
    const Json* python_error = row.find("python_error");
    if (python_error == nullptr) continue;
    const std::string& full = python_error->as_string();
    const std::string words = full.substr(full.find(": ") + 2);
    const auto message = failure_message(row.at("template").as_string(), recorded.at("input"));
    ++n_errors;
    n_same += message.find(words) != std::string::npos;
  }
  EXPECT_GE(n_errors, 90);
  EXPECT_LE(n_errors - n_same, 10);
}

TEST(JinjaTemplate, ErrorsNameTheFileAndTheLine) {
  const auto runtime = failure("one\ntwo\n{{ ok }}{{ missing.attribute }}\nfour");
  ASSERT_TRUE(runtime);
  EXPECT_EQ(runtime->message(), "'missing' is undefined");
  EXPECT_EQ(runtime->file(), "t.jinja:3");
  const auto syntax = failure("one\n\n{% if %}");
  ASSERT_TRUE(syntax);
  EXPECT_EQ(syntax->message(), "Expected an expression, got 'end of statement block'");
  EXPECT_EQ(syntax->file(), "t.jinja:3");
  const auto lexical = failure("one\n{{ 'unfinished }}");
  ASSERT_TRUE(lexical);
  EXPECT_EQ(lexical->file(), "t.jinja:2");
  const auto raised =
      failure("{% macro m() %}\n\n{{ raise_exception('no') }}{% endmacro %}\n{{ m() }}");
  ASSERT_TRUE(raised);
  EXPECT_EQ(raised->message(), "no");
  EXPECT_EQ(raised->file(), "t.jinja:3");
}

TEST(JinjaTemplate, LinesAreThoseOfTheFileWhateverIsStripped) {
  EXPECT_EQ(failure("{%- set a = 1 -%}\r\n\r\n{#- c\n -#}\n{{ x.y }}")->file(), "t.jinja:5");
  EXPECT_EQ(failure("{% raw %}\n\n{% endraw %}\n{{ x.y }}")->file(), "t.jinja:4");
  EXPECT_EQ(failure("{{ 1 +\n 2 +\n x.y }}")->file(), "t.jinja:3");
  EXPECT_EQ(failure("{% macro m() %}\n{% endmacro %}\n{{ m() ~ (\n1 / 0) }}")->file(), "t.jinja:4");
}

TEST(JinjaTemplate, RefusesByNameWhatItLeavesOut) {
  EXPECT_THAT(failure_message("{% include 'x' %}"), HasSubstr("'include'"));
  EXPECT_THAT(failure_message("{% extends 'x' %}"), HasSubstr("'extends'"));
  EXPECT_THAT(failure_message("{% import 'x' as y %}"), HasSubstr("'import'"));
  EXPECT_THAT(failure_message("{% from 'x' import y %}"), HasSubstr("'from'"));
  EXPECT_THAT(failure_message("{% block b %}{% endblock %}"), HasSubstr("'block'"));
  EXPECT_THAT(failure_message("{% autoescape true %}{% endautoescape %}"),
              HasSubstr("'autoescape'"));
  EXPECT_THAT(failure_message("{% for x in xs recursive %}{% endfor %}"), HasSubstr("recursive"));
  EXPECT_THAT(failure_message("{{ x | urlize }}"), HasSubstr("'urlize'"));
}

TEST(JinjaTemplate, ObjectsKeepTheOrderOfTheirKeys) {
  const Json variables = Json::parse(R"({"d": {"z": 1, "a": {"y": 2, "b": 3}, "m": 4}})");
  EXPECT_EQ(render("{{ d | tojson }}", variables), R"({"z": 1, "a": {"y": 2, "b": 3}, "m": 4})");
  EXPECT_EQ(render("{% for k in d %}{{ k }}{% endfor %}", variables), "zam");
}

TEST(JinjaTemplate, ADictOfManyKeysFindsEachOfThem) {
  Json dict = Json::object();
  for (int i = 0; i < 1000; ++i) dict.set(fmt::format("key{}", i), i);
  const Json variables = Json::object({{"d", dict}});
  EXPECT_EQ(
      render(
          "{{ d.key0 }} {{ d['key999'] }} {{ 'key500' in d }} {{ 'nope' in d }} {{ d | length }}",
          variables),
      "0 999 True False 1000");
}

TEST(JinjaTemplate, WithoutAClockThereIsNoTime) {
  EXPECT_EQ(render("{{ strftime_now is defined }}"), "False");
  JinjaOptions options;
  options.clock = recorded_time;
  EXPECT_EQ(JinjaTemplate::parse("{{ strftime_now('%d %b %Y') }}").render(Json::object(), options),
            "05 Dec 2025");
}

TEST(JinjaTemplate, TextThatIsNotUtf8IsRepaired) {
  EXPECT_EQ(render("{{ s }}|{{ s | length }}", Json::object({{"s", "a\xFF\xC3z"}})),
            "a\xEF\xBF\xBD\xEF\xBF\xBDz|4");
  EXPECT_THROW(JinjaTemplate::parse("a\xFF"), Error);
}

TEST(JinjaTemplate, SlicesAndLengthsCountCharacters) {
  const Json variables = Json::object({{"s", "añ日🙂z"}});
  EXPECT_EQ(
      render("{{ s | length }}{{ s[1] }}{{ s[2:4] }}{{ s[::-1] }}{{ s[-2] }}{{ s.find('🙂') }}",
             variables),
      "5ñ日🙂z🙂日ña🙂3");
}

TEST(JinjaTemplate, TrimRemovesEveryUnicodeSpaceAndNothingElse) {
  const std::string spaces =
      "\t\n\v\f\r\x1C\x1D\x1E\x1F \u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000";
  EXPECT_EQ(render("[{{ s | trim }}]", Json::object({{"s", spaces + "x" + spaces}})), "[x]");
  EXPECT_EQ(render("[{{ s | trim }}]", Json::object({{"s", "\u200Bx\uFEFF"}})), "[\u200Bx\uFEFF]");
}

TEST(JinjaTemplate, ManyThreadsRenderTheSameTemplate) {
  const auto parsed = JinjaTemplate::parse(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(n=0) %}{% for x in xs %}{% set "
      "ns.n = ns.n + x %}{{ m(x) }}{% endfor %}{{ ns.n }}");
  std::vector<std::string> texts(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&parsed, &text = texts[i], i] {
      const Json variables = Json::object({{"xs", Json::array({static_cast<int>(i), 1})}});
      for (int repeat = 0; repeat < 50; ++repeat) text = parsed.render(variables);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(texts[i], fmt::format("<{}><1>{}", i, i + 1));
  }
}

TEST(JinjaTemplate, ValuesThatHoldThemselvesAreReleased) {
  // The leak checker of the asan preset is what looks at this one.
  EXPECT_EQ(
      render(
          "{% set ns = namespace() %}{% set ns.me = ns %}{% macro m() %}{{ ns }}{% endmacro %}"
          "{% set ns.m = m %}{% for x in [1, 2] %}{% set ns.loop = loop %}{{ loop.changed(loop) }}"
          "{% endfor %}{{ ns.me.me.m.name }}"),
      "TrueFalsem");
}

}  // namespace
}  // namespace qround
