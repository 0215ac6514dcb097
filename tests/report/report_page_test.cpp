#include "report/report_page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "report/html_text.h"
#include "report/model_card.h"
#include "report/svg_chart.h"

namespace qround::report {
namespace {

Json sample_report() {
  return Json::parse(R"({
    "schema": 2, "tool": {"name": "qround", "version": "0.0"},
    "source": {"name": "A <b>&model", "config_sha256": "aa", "index_sha256": null},
    "recipe": {"scheme": "int4", "group_size": 128, "seed": 42},
    "tuning": {"data_sha256": "dd", "blocks": [
      {"block": 0, "loss_before": 0.0123456789, "loss_after": 0.00456789, "kept_iteration": 7,
       "seconds": 1.25, "expert_tokens": [5, 0, 3]},
      {"block": 1, "loss_before": 0.5, "loss_after": 0.25, "kept_iteration": 9, "seconds": 2.5,
       "expert_tokens": [1, 2, 5]}]},
    "linears": {"quantized": 109, "total": 117, "mtp_quantized": 0, "mtp_total": 32},
    "tensors": {"before": 10, "after": 20}, "bytes": {"before": 13700001, "after": 5500003},
    "relative_error": {"by_kind": [{"kind": "q_proj", "count": 2, "min": 0.07, "mean": 0.08,
      "max": 0.09}], "by_kind_and_block": [{"kind": "q_proj", "block": 1, "count": 2, "min": 0.07,
      "mean": 0.08, "max": 0.09}], "worst": []},
    "seconds": {"quantize": 12.5}, "threads": 2, "peak_memory_bytes": 76300001,
    "verify": {"schema": 1, "passed": true, "checked": 30, "errors": 0, "warnings": 1, "rules": [
      {"rule": "R1", "severity": "warning", "count": 1, "findings": [
       {"tensor": "t", "message": "<script>", "expected": "", "actual": ""}]}], "consumers": []},
    "eval": {"directory": "out", "source": "src", "data": {"name": "t.txt", "sha256": "ee",
      "tokens": 1000, "tokens_sha256": "ff"}, "protocol": {"text": "windows of 256"}, "windows": 4,
      "interval": "95 %", "lanes": [
       {"name": "source", "targets": 4, "perplexity": {"value": 1.5, "low": 1.25, "high": 1.75},
        "layers": [{"expert_rows": [1, 2, 3]}]},
       {"name": "result", "targets": 4, "perplexity": {"value": 1.625, "low": 1.5, "high": 1.8125},
        "perplexity_ratio": {"value": 1.03125, "low": 1, "high": 1.0625},
        "kl_divergence": {"mean": {"value": 0.000357789, "low": 0.00026, "high": 0.0005},
          "median": 1e-06, "p90": 0.0003, "p99": 0.0038, "p99_9": 0.038, "max": 1.7, "rows": 8,
          "histogram": {"first_power_of_ten": -10, "bins_per_power": 4, "rows": [1, 0, 7]}},
        "top_agreement": {"value": 0.97, "low": 0.96, "high": 0.98}, "top_differs": 3,
        "mtp_teacher_forced": [{"depth": 1, "rows": 8, "hits": 7, "agreement": {"value": 0.875,
          "low": 0.8, "high": 0.9}, "chain": {"value": 0.875, "low": 0.8, "high": 0.9}}],
        "layers": [{"relative_error": 0.0625, "rerouted": 0.03125, "expert_rows": [1, 2, 3]}]}]}
  })");
}

void collect_numbers(const Json& value, std::set<std::string>& numbers) {
  if (value.is_number()) numbers.insert(value.dump());
  if (value.is_array())
    for (const Json& item : value.as_array()) collect_numbers(item, numbers);
  if (value.is_object())
    for (const auto& [key, item] : value.as_object()) collect_numbers(item, numbers);
}

TEST(ReportPage, ShowsOnlyNumbersOfTheReport) {
  const Json report = sample_report();
  std::set<std::string> numbers;
  collect_numbers(report, numbers);
  const std::string page = report_page(report);
  const std::regex data("<data value=\"([^\"]*)\">");
  int shown = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), data), end; it != end; ++it) {
    ++shown;
    EXPECT_TRUE(numbers.contains((*it)[1])) << (*it)[1];
  }
  EXPECT_GT(shown, 40);
  for (const char* exact : {"0.0123456789", "0.000357789", "5500003", "0.0625", "76300001"}) {
    const bool drawn_or_shown =
        page.find(fmt::format("value=\"{}\"", exact)) != std::string::npos ||
        page.find(fmt::format(": {}<", exact)) != std::string::npos;
    EXPECT_TRUE(drawn_or_shown) << exact;
  }
}

TEST(ReportPage, TooltipsGiveExactValues) {
  Json report = sample_report();
  Json& block = report.as_object().find("tuning")->as_object().find("blocks")->as_array()[0];
  block.set("loss_before", 0.012345678912345);
  EXPECT_NE(report_page(report).find("<title>before 0: 0.012345678912345</title>"),
            std::string::npos);
}

TEST(ReportPage, TextOfTheReportIsEscaped) {
  const std::string page = report_page(sample_report());
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("A &lt;b&gt;&amp;model"), std::string::npos);
}

TEST(ReportPage, ShowsVerdictsAndRulesThatFoundSomething) {
  Json report = sample_report();
  report.set("verify", Json::parse(R"({"schema": 1, "passed": false, "checked": 41, "errors": 1,
    "warnings": 0, "rules": [
      {"rule": "quiet-rule", "severity": "error", "count": 0, "findings": []},
      {"rule": "loud-rule", "severity": "error", "count": 7, "findings": [{"message": "seven"}]}],
    "consumers": [{"consumer": "vllm", "tp": 2, "verdict": "SILENT GARBAGE", "text": "why"},
      {"consumer": "transformers", "tp": null, "verdict": "OK", "text": ""}]})"));
  const std::string page = report_page(report);
  EXPECT_NE(page.find("SILENT GARBAGE"), std::string::npos);
  EXPECT_NE(page.find("loud-rule"), std::string::npos);
  EXPECT_EQ(page.find("quiet-rule"), std::string::npos);
}

TEST(ReportPage, NeedsNothingFromTheNetwork) {
  const std::string page = report_page(sample_report());
  for (const char* reference : {"http:", "https:", "src=", "href=", "url(", "@import"})
    EXPECT_EQ(page.find(reference), std::string::npos) << reference;
}

TEST(ReportPage, AnEmptyReportIsAPage) {
  const std::string page = report_page(Json::parse("{\"schema\": 2}"));
  EXPECT_NE(page.find("</html>"), std::string::npos);
  EXPECT_EQ(page.find("<h2>"), std::string::npos);
}

TEST(HeatMap, BusiestExpertIsDarkestAndUnusedOnesAreBlank) {
  const std::string svg = heat_map({.title = "t"}, {{8, 0, 1}});
  EXPECT_NE(svg.find("class=\"level7\" d=\"M0 0"), std::string::npos) << svg;
  EXPECT_NE(svg.find("class=\"level0\" d=\"M2 0"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("M1 0"), std::string::npos);
}

TEST(ModelCard, StatesWhatWasMeasuredAndNothingElse) {
  const std::string card = model_card(sample_report(), "out-int4", true);
  EXPECT_NE(card.find("0.000358 (0.00026 – 0.0005)"), std::string::npos) << card;
  EXPECT_NE(card.find("num_speculative_tokens"), std::string::npos);
  EXPECT_NE(card.find(kCardMark), std::string::npos);
  const std::string bare = model_card(Json::parse("{\"schema\": 2}"), "out-int4", false);
  EXPECT_EQ(bare.find("Measured"), std::string::npos);
  EXPECT_EQ(bare.find("num_speculative_tokens"), std::string::npos);
}

}  // namespace
}  // namespace qround::report
