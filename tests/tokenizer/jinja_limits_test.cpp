// Templates that try to run for ever, to fill the memory or to exhaust the stack end with an Error,
// soon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/jinja_template.h"

namespace qround {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

std::string failure_message(const std::string& source, const JinjaOptions& options = {}) {
  try {
    JinjaTemplate::parse(source).render(Json::object({{"xs", Json::array({1, 2, 3})}}), options);
  } catch (const Error& error) {
    EXPECT_THAT(error.file(), HasSubstr("template:"));
    return error.message();
  }
  return "no error";
}

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

// The message of a failure that must come within a few seconds, whatever the machine and the build.
std::string quick_failure(const std::string& source, const JinjaOptions& options = {}) {
  const auto start = std::chrono::steady_clock::now();
  std::string message = failure_message(source, options);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << source;
  return message;
}

// Limits that are passed in a moment, also by a slow build.
JinjaOptions low_limits() {
  JinjaOptions options;
  options.limits.max_steps = 1'000'000;
  options.limits.max_produced_bytes = 32'000'000;
  return options;
}

JinjaOptions small_output() {
  JinjaOptions options;
  options.limits.max_output_bytes = 10'000;
  return options;
}

TEST(JinjaLimits, NestedLoopsRunOutOfSteps) {
  JinjaOptions options;
  options.limits.max_steps = 5'000'000;
  EXPECT_THAT(
      quick_failure(
          "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
          options),
      HasSubstr("steps"));
}

TEST(JinjaLimits, OutputIsBounded) {
  EXPECT_THAT(
      quick_failure("{% for a in range(1000) %}0123456789{{ a }}{% endfor %}", small_output()),
      HasSubstr("output is longer than 10000 bytes"));
}

TEST(JinjaLimits, AStringThatDoublesEndsBeforeTheMemoryDoes) {
  EXPECT_THAT(quick_failure("{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = "
                            "ns.s ~ ns.s %}{% endfor %}"),
              HasSubstr("intermediate values"));
  EXPECT_THAT(quick_failure("{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = "
                            "ns.l + ns.l %}{% endfor %}"),
              HasSubstr("intermediate values"));
}

TEST(JinjaLimits, ProductsAreRefusedBeforeTheyAreMade) {
  for (std::string source :
       {"{{ 'x' * N }}", "{{ [1] * N }}", "{{ 'x' | center(N) }}", "{{ 'x'.ljust(N) }}",
        "{{ '7'.zfill(N) }}", "{{ 'a\nb' | indent(N) }}", "{{ [1] | tojson(indent=N) }}",
        "{{ '%999999999d' % 1 }}", "{{ '%.999999999f' % 1.5 }}", "{{ '{:999999999}'.format(1) }}",
        "{{ '{:.999999999f}'.format(1.5) }}", "{{ [1] | batch(N, 0) | list }}",
        "{{ [1] | slice(N) | list }}", "{{ 'a\tb'.expandtabs(N) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000).replace('', 'y' * 100000) }}",
        "{{ ('x' * 100000) | join('y' * 100000) }}",
        "{{ ('x' * 100000) | list | join('y' * 100000) }}",
        "{{ ('y' * 100000).join('x' * 100000) }}"}) {
    if (const size_t at = source.find('N'); at != std::string::npos)
      source.replace(at, 1, "1000000000000");
    SCOPED_TRACE(source);
    EXPECT_THAT(quick_failure(source, low_limits()),
                AnyOf(HasSubstr("intermediate values"), HasSubstr("steps")));
  }
}

TEST(JinjaLimits, TooLongARangeIsRefused) {
  EXPECT_THAT(quick_failure("{% for i in range(100000000000) %}{% endfor %}"),
              HasSubstr("Range too big"));
  EXPECT_THAT(quick_failure("{{ range(-9223372036854775807, 9223372036854775807) }}"),
              HasSubstr("Range too big"));
}

TEST(JinjaLimits, IntegersCannotGrowForEver) {
  EXPECT_THAT(quick_failure("{{ 10 ** 1000000000 }}"), HasSubstr("integer too large"));
  EXPECT_THAT(quick_failure("{% set ns = namespace(n=3) %}{% for i in range(1000) %}{% set ns.n = "
                            "ns.n * ns.n %}{% endfor %}"),
              HasSubstr("integer too large"));
}

TEST(JinjaLimits, DivisionsOfLongIntegersAreCounted) {
  EXPECT_THAT(
      quick_failure(
          "{% set n = 7 ** 1400 %}{% for i in range(100000) %}{% set x = n // 3 %}{% endfor %}",
          low_limits()),
      HasSubstr("steps"));
}

TEST(JinjaLimits, AMacroThatCallsItselfRunsOutOfDepth) {
  EXPECT_THAT(quick_failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("deeper than"));
  EXPECT_THAT(quick_failure("{% macro m(n) %}{% if n %}{% for i in [1] %}{{ [[m(n + 1) ~ 'x']] "
                            "}}{% endfor %}{% endif %}{% endmacro %}{{ m(1) }}"),
              HasSubstr("deeper than"));
  EXPECT_THAT(quick_failure("{% macro a() %}{{ caller() }}{% endmacro %}{% macro b() %}{% call a() "
                            "%}{{ b() }}{% endcall %}{% endmacro %}{{ b() }}"),
              HasSubstr("deeper than"));
}

TEST(JinjaLimits, DeeplyNestedSourceIsRefused) {
  const int n = 20'000;
  for (const std::string& source : {"{{ " + repeated("(", n) + "1" + repeated(")", n) + " }}",
                                    "{{ " + repeated("[", n) + repeated("]", n) + " }}",
                                    "{{ " + repeated("{1:", n) + "1" + repeated("}", n) + " }}",
                                    "{{ " + repeated("-", n) + "1 }}",
                                    "{{ " + repeated("not ", n) + "1 }}",
                                    "{{ 1" + repeated("+1", n) + " }}",
                                    "{{ x" + repeated(".a", n) + " }}",
                                    "{{ x" + repeated("|e", n) + " }}",
                                    "{{ x" + repeated("()", n) + " }}",
                                    "{{ x" + repeated("[0]", n) + " }}",
                                    "{{ 1" + repeated(" if 1 else 1", n) + " }}",
                                    "{{ 1" + repeated(" if 1", n) + " }}",
                                    "{{ 1" + repeated("**1", n) + " }}",
                                    "{{ 1" + repeated(" and 1", n) + " }}",
                                    "{{ x" + repeated("(x", n),
                                    "{{ x" + repeated(" is a(x", n),
                                    repeated("{% if 1 %}", n),
                                    repeated("{% for x in xs %}", n),
                                    repeated("{% set x %}", n),
                                    repeated("{% macro m() %}", n),
                                    "{% set " + repeated("(", n) + " %}",
                                    "{{ 1" + repeated(" is not a", n) + " }}",
                                    "{% filter e" + repeated("|e", n) + " %}{% endfilter %}"}) {
    SCOPED_TRACE(source.substr(0, 40));
    EXPECT_THAT(quick_failure(source), AnyOf(HasSubstr("nests deeper than"),
                                             HasSubstr("You cannot chain multiple tests with is")));
  }
}

TEST(JinjaLimits, LongSourceThatIsNotDeepIsFine) {
  EXPECT_EQ(
      JinjaTemplate::parse("{{ 0" + repeated(" ~ 1", 10'000) + " }}").render(Json::object()).size(),
      10'001u);
  const std::string branches =
      "{% if 0 %}" + repeated("{% elif 0 %}", 10'000) + "{% else %}x{% endif %}";
  EXPECT_EQ(JinjaTemplate::parse(branches).render(Json::object()), "x");
}

TEST(JinjaLimits, ValuesCannotNestForEver) {
  for (const char* step :
       {"[ns.v]", "(ns.v,)", "{'k': ns.v}", "{'k': ns.v}.items()", "ns.v | map('string')",
        "[ns.v] | map('list')", "[ns.v] | select", "dict(k=ns.v)", "[ns.v].count"}) {
    SCOPED_TRACE(step);
    EXPECT_THAT(
        quick_failure("{% set ns = namespace(v=[1]) %}{% for i in range(100000) %}{% set ns.v = " +
                      std::string(step) + " %}{% endfor %}"),
        AnyOf(HasSubstr("nests deeper than"), HasSubstr("not iterable")));
  }
  EXPECT_THAT(quick_failure("{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% for x "
                            "in [ns.l] %}{% set ns.l = loop %}"
                            "{% endfor %}{% endfor %}"),
              HasSubstr("nests deeper than"));
}

TEST(JinjaLimits, ValuesThatShareTheirPartsCannotExplode) {
  const std::string shared =
      "{% set ns = namespace(v=[1]) %}{% for i in range(200) %}{% set ns.v = [ns.v, ns.v] %}{% "
      "endfor %}";
  for (const char* use :
       {"{{ ns.v }}", "{{ ns.v | tojson }}", "{{ ns.v ~ '' }}", "{{ [ns.v] | join }}",
        "{{ '%s' % (ns.v,) }}", "{{ {'a': ns.v} | string | length }}", "{{ '{}'.format(ns.v) }}"}) {
    SCOPED_TRACE(use);
    EXPECT_THAT(quick_failure(shared + use, low_limits()),
                AnyOf(HasSubstr("intermediate values"), HasSubstr("steps")));
  }
  const std::string twins = shared +
                            "{% set a = ns.v %}{% set ns.v = [1] %}{% for i in range(200) %}{% set "
                            "ns.v = [ns.v, ns.v] %}{% endfor %}";
  EXPECT_THAT(quick_failure(twins + "{{ a == ns.v }}", low_limits()), HasSubstr("steps"));
  EXPECT_THAT(quick_failure(twins + "{{ a < ns.v }}", low_limits()), HasSubstr("steps"));
  EXPECT_THAT(quick_failure(twins + "{{ [a, ns.v] | sort }}", low_limits()), HasSubstr("steps"));
  EXPECT_THAT(
      quick_failure("{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns }}",
                    low_limits()),
      AnyOf(HasSubstr("recursion"), HasSubstr("intermediate values")));
}

TEST(JinjaLimits, SearchingLongTextIsCounted) {
  EXPECT_THAT(quick_failure("{% set s = 'ab' * 5000000 %}{% for i in range(100000) %}{% if 'ba' * "
                            "20 in s[i:] %}{% endif %}{% endfor %}",
                            low_limits()),
              AnyOf(HasSubstr("steps"), HasSubstr("intermediate values")));
  EXPECT_THAT(quick_failure("{% set s = 'a' * 5000000 %}{% for i in range(100000) %}{{ "
                            "s.find('b') }}{{ s.count('b') }}{% endfor %}",
                            low_limits()),
              HasSubstr("steps"));
  EXPECT_THAT(
      quick_failure("{% for i in range(100000) %}{% set x = ('é' * 1000000)[0] %}{% endfor %}",
                    low_limits()),
      AnyOf(HasSubstr("steps"), HasSubstr("intermediate values")));
}

TEST(JinjaLimits, ALimitIsAnOption) {
  const std::string loop = "{% for i in range(1000) %}{{ i }}{% endfor %}";
  JinjaOptions few;
  few.limits.max_steps = 100;
  EXPECT_THAT(failure_message(loop, few), HasSubstr("more than 100 steps"));
  EXPECT_EQ(failure_message(loop), "no error");
}

TEST(JinjaLimits, AnErrorInsideDeepCallsLeavesTheTemplateUsable) {
  const auto parsed = JinjaTemplate::parse(
      "{% macro m(n) %}{{ m(n - 1) if n else x.y }}{% endmacro %}{{ m(20) if fail else 'fine' }}");
  EXPECT_THROW(parsed.render(Json::object({{"fail", true}})), Error);
  EXPECT_EQ(parsed.render(Json::object({{"fail", false}})), "fine");
}

TEST(JinjaLimits, AConversationOfTenThousandMessagesPasses) {
  Json messages = Json::array();
  for (int i = 0; i < 10'000; ++i) {
    messages.as_array().push_back(
        Json::object({{"role", i % 2 == 0 ? "user" : "assistant"},
                      {"content", std::string(500, 'x') + std::to_string(i)}}));
  }
  const auto parsed = JinjaTemplate::parse(
      "{% macro text(c) %}{{ c if c is string else '' }}{% endmacro %}{% for m in messages %}"
      "{% set content = text(m.content) | trim %}{{ '<|im_start|>' + m.role + '\\n' + content + "
      "'<|im_end|>\\n' }}"
      "{% if not loop.last and loop.nextitem.role == m.role %}{{ raise_exception('alternate') }}{% "
      "endif %}{% endfor %}");
  EXPECT_GT(parsed.render(Json::object({{"messages", messages}})).size(), 5'000'000u);
}

}  // namespace
}  // namespace qround
