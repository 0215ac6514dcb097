#include "cli/verify_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <vector>

#include "base/error.h"
#include "verify/rules.h"

namespace qround {
namespace {

using Buffer = fmt::memory_buffer;

template <typename... Args>
void put(Buffer& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

void put_finding(Buffer& out, const verify::Finding& finding) {
  put(out, "    {}{}{}\n", finding.tensor, finding.tensor.empty() ? "" : ": ", finding.message);
  if (!finding.expected.empty()) put(out, "      expected {}\n", finding.expected);
  if (!finding.actual.empty()) put(out, "      actual   {}\n", finding.actual);
}

void put_rule(Buffer& out, const verify::RuleOutcome& rule) {
  const int64_t count = rule.findings.count();
  if (count == 0) return;
  put(out, "  {} [{}] {} finding{}; concerns {}\n", severity_name(rule.severity), rule.rule, count,
      count == 1 ? "" : "s", rule.applies_to);
  for (const verify::Finding& finding : rule.findings.first()) put_finding(out, finding);
  const auto hidden = count - static_cast<int64_t>(rule.findings.first().size());
  if (hidden > 0) put(out, "    ... and {} more\n", hidden);
}

void put_facts(Buffer& out, const verify::Outcome& outcome) {
  const verify::Facts& facts = outcome.facts;
  if (facts.bytes == 0) return;
  put(out, "  {} int4 maps; {} of tensors read in {:.2f} s ({}/s)\n", facts.int4_linears,
      bytes_text(facts.bytes), outcome.seconds,
      bytes_text(static_cast<uint64_t>(static_cast<double>(facts.bytes) /
                                       std::max(outcome.seconds, 1e-9))));
  if (facts.int4_linears > 0)
    put(out,
        "  {:.1f} % of scales are negative; rounding them to BF16, as servers do, moves them by "
        "{:.2g} %\n",
        100 * facts.negative_scales, 100 * facts.bf16_scale_loss);
  if (facts.mean_relative_error >= 0)
    put(out, "  relative error against the source: mean {:.3g} %, largest {:.3g} % in {}\n",
        100 * facts.mean_relative_error, 100 * facts.max_relative_error, facts.worst_module);
}

void put_verdict(Buffer& out, const verify::Verdict& verdict) {
  const std::string tp = verdict.tp == 0 ? "" : fmt::format("tp {}", verdict.tp);
  const std::string release = verdict.release.empty() ? "" : verdict.release + ": ";
  put(out, "  {:<14} {:<5} {}{}{}{}\n", verdict.consumer, tp, verdict_name(verdict.kind),
      verdict.text.empty() ? "" : ": ", release, verdict.text);
}

std::string rule_text(const verify::Rule& rule) {
  Buffer out;
  put(out, "{} ({}; concerns {})\n", rule.id, severity_name(rule.severity), rule.applies_to);
  put(out, "  rule    {}\n  reason  {}\n", rule.text, rule.reason);
  if (!rule.source.empty()) put(out, "  source  {}\n", rule.source);
  put(out, "  mend    {}\n", rule.mend);
  return fmt::to_string(out);
}

std::string consumer_text(const verify::Consumer& consumer) {
  Buffer out;
  put(out, "{}\n  needs   {}\n  command {}\n  notes   {}\n", consumer.id, consumer.needs,
      consumer.command, consumer.notes);
  return fmt::to_string(out);
}

}  // namespace

std::string outcome_text(const std::string& directory, const verify::Outcome& outcome) {
  Buffer out;
  put(out, "{}\n", directory);
  for (const verify::RuleOutcome& rule : outcome.rules) put_rule(out, rule);
  put_facts(out, outcome);
  put(out, "{}: {} rules checked, {} errors, {} warnings\n", outcome.passed() ? "passed" : "FAILED",
      outcome.checked(), outcome.count(verify::Severity::error),
      outcome.count(verify::Severity::warning));
  for (const verify::Verdict& verdict : outcome.verdicts) put_verdict(out, verdict);
  return fmt::to_string(out);
}

std::string explanation_text(const std::string& id) {
  if (const verify::Rule* rule = verify::find_rule(id)) return rule_text(*rule);
  std::string texts;
  std::vector<std::string_view> known;
  for (const verify::Consumer& consumer : verify::consumers()) {
    if (!id.empty() && consumer.id.starts_with(id)) texts += consumer_text(consumer);
    known.push_back(consumer.id);
  }
  if (!texts.empty()) return texts;
  known.push_back(verify::opens_rule().id);
  known.push_back(verify::architecture_rule().id);
  for (const verify::Rule& rule : verify::rules()) known.push_back(rule.id);
  throw Error("no rule and no consumer has this name")
      .expected(fmt::format("one of {}", fmt::join(known, ", ")))
      .actual(id);
}

}  // namespace qround
